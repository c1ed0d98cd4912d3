// What one window needs of a device, before anything is allocated: the chunk, where the hidden state lives, how many
// windows run at once, and a refusal with the numbers where it cannot fit. Layer-major (DESIGN section 5): hidden state
// of all tokens, K and V of one layer, and buffers of one chunk. A Generator holds K and V of all layers instead, and
// the hidden state of one chunk.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/memory_format.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

/// How a window goes through the layers. Decides no result on the CPU; on a GPU attention's bits belong to its chunks,
/// so those of a result to how many positions of a window go at once: chunk_tokens / max_sequences, or all of fewer.
struct WindowLayout {
  std::int64_t chunk_tokens = 0;  ///< rows at once, at least 1; a window shorter than that is one chunk
  bool hidden_on_host = false;    ///< the hidden state lives in host memory and is streamed through two device chunks
  /// Windows of the longest length whose rows go through the layers together; 1: always one alone. Where there are
  /// more, shorter windows fill a chunk.
  std::int64_t max_sequences = 1;
};

/// What there is, and what one would like.
struct MemoryPlanOptions {
  std::string device = "the device";        ///< its name in messages
  std::int64_t window_tokens = 0;           ///< of the longest window, >= 2; of a Generator: its capacity
  bool generation = false;                  ///< a Generator is what runs, not windows
  std::int64_t free_bytes = 0;              ///< of the device
  std::int64_t host_free_bytes = 0;         ///< for a streamed hidden state; 0: no streaming (the CPU)
  std::int64_t preferred_chunk_tokens = 0;  ///< Backend::preferred_chunk_tokens
  std::int64_t preferred_windows_at_once = 1;
  std::int64_t preferred_sequences = 1;             ///< of one pass, see WindowLayout::max_sequences
  bool joined_at_once = false;                      ///< windows of one pass count towards those at once, as on a GPU
  kernels::DType embedding = kernels::DType::bf16;  ///< as stored in the checkpoint
};

struct MemoryPlan {
  std::string device;
  std::int64_t window_tokens = 0;
  bool generation = false;
  WindowLayout layout;
  std::int64_t windows_at_once = 1;  ///< passes that run at once, each of `sequences` windows, or Generators
  std::int64_t sequences = 1;
  // Once per device.
  std::int64_t weights_bytes = 0;
  std::int64_t fixed_bytes = 0;
  // Per pass that runs.
  std::int64_t hidden_bytes = 0;     ///< float32 residual stream on the device: all tokens, or two chunks of it
  std::int64_t kv_bytes = 0;         ///< K and V of one layer; of a Generator: of all
  std::int64_t rotation_bytes = 0;   ///< the tables of the pass
  std::int64_t workspace_bytes = 0;  ///< activations of one chunk
  std::int64_t scratch_bytes = 0;    ///< of the backend's operations
  std::int64_t host_bytes = 0;       ///< the hidden state, where it lives on the host
  std::int64_t free_bytes = 0;       ///< of the device before anything is allocated

  std::int64_t window_bytes() const {
    return hidden_bytes + kv_bytes + rotation_bytes + workspace_bytes + scratch_bytes;
  }
  std::int64_t total_bytes() const { return weights_bytes + fixed_bytes + windows_at_once * window_bytes(); }
  /// A few lines for the log: every term, sums, chunk and placement.
  std::string describe() const;
};

/// The plan for one device. In this order: the preferred chunk with the hidden state on the device; half the chunk,
/// down to 1024 rows; the hidden state on the host; smaller chunks again, down to 256 rows. Then as many sequences in
/// a pass, and as many passes at once, as fit and are preferred (of passes with joined_at_once: as hold as many
/// windows, but two, so that one computes while the other's losses are fetched). A Generator has no hidden state to put
/// on the host, and takes one sequence. Throws InputError with what is needed and what there is if nothing fits.
MemoryPlan plan_memory(const ModelConfig& config, const kernels::MemoryFormat& format,
                       const MemoryPlanOptions& options);

/// Bytes of all packed weights.
std::int64_t weights_bytes(const ModelConfig& config, const kernels::MemoryFormat& format, kernels::DType embedding);

/// How many windows of `window_tokens` keep a GPU busy: their chunks' layers must together be work of about a
/// millisecond, so that launches and waits hide behind it. 1 for a big model, up to 32 for small ones, whose
/// concurrency is that of rows in the same launches (sequences_to_fill_chunk) and of streams, one per thread.
std::int64_t windows_to_fill_gpu(const ModelConfig& config, std::int64_t window_tokens, std::int64_t chunk_tokens);

/// How many windows of one length a GPU should take through the layers together, if there are as many to score: as many
/// as fill a chunk, where one window has fewer rows and does not keep the GPU busy; else 1.
std::int64_t sequences_to_fill_chunk(const ModelConfig& config, std::int64_t window_tokens, std::int64_t chunk_tokens);

/// How many windows of one length the CPU should take through the layers together, if there are as many to score: 4
/// where what tables share, the QKV projection of layer 0, is 1% of a window's work or more, and where a window alone
/// leaves products short of rows; else 1.
std::int64_t sequences_to_join(const ModelConfig& config, std::int64_t window_tokens);

/// Memory that programs may still take without swapping, as Linux says (MemAvailable of /proc/meminfo), or less where
/// the process or its container has a lower limit; the largest number where nothing says.
std::int64_t host_free_bytes();

}  // namespace longrope::model
