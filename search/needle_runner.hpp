// Runs needle cells on the devices: text generated greedily, and the answer's NLL with the same K and V. Cells of one
// scaling and length go in the order of their ids, in one contiguous run a worker, so that what their prompts share is
// prefilled once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/needle_prompt.hpp"
#include "model/transformer.hpp"
#include "search/device_lanes.hpp"
#include "search/needle_grid.hpp"
#include "search/needle_result.hpp"

namespace longrope::search {

/// A model under one table that keeps what it computed of the last sequence (model::Generator).
class NeedleDecoder {
 public:
  virtual ~NeedleDecoder() = default;
  virtual std::vector<std::int32_t> generate(std::span<const std::int32_t> prompt, std::int64_t max_new) = 0;
  virtual model::NllSum score(std::span<const std::int32_t> ids, std::int64_t first_scored) = 0;
  virtual bool finite() const = 0;                   ///< of the last call
  virtual std::int64_t computed_tokens() const = 0;  ///< rows that went through the layers so far
};
/// For sequences of up to `length` tokens on a lane. Thread-safe.
using MakeDecoder =
    std::function<std::unique_ptr<NeedleDecoder>(std::size_t rope, std::int64_t length, std::size_t lane)>;

/// The decoders of model::Generator under tables [rope][length of the grid], on lanes that outlive them.
MakeDecoder generator_decoders(const DeviceLanes& lanes, std::vector<std::vector<model::RopeTable>> tables,
                               std::vector<std::int64_t> lengths, kernels::RotationPrecision precision);

struct NeedleJob {
  NeedleGrid grid;
  std::size_t ropes = 1;
  std::int64_t new_tokens = 0;  ///< generated at most; room for them is part of a cell's length. 0: only NLL
  std::vector<bool> done = {};  ///< [ropes * grid.cells()] cells not to run; empty: none
};

/// What the run's prompts took.
struct NeedlePrefill {
  std::int64_t tokens = 0;    ///< of all prompts
  std::int64_t computed = 0;  ///< rows that went through the layers, answers and generated tokens among them
};

/// Tokens of the longest answer in a grid.
std::int64_t longest_answer(const model::NeedlePromptMaker& maker, const NeedleGrid& grid);
/// Generated beyond it.
inline constexpr std::int64_t kSpareTokens = 4;
/// Makes the prompt of every cell once. Throws InputError for any that cannot be, or that has tokens which a model of
/// this vocabulary has not.
void check_prompts(const model::NeedlePromptMaker& maker, const NeedleGrid& grid, std::int64_t new_tokens,
                   std::int64_t vocabulary);

/// Runs the cells that are not done. on_row: called for each, from any thread but one at a time, in any order. Ends
/// early once *stop is true (null: never); a cell is then either whole or not there. A cell whose device failed for
/// good has status failed. Throws what make throws, and what DeviceLanes::run does.
NeedlePrefill run_needles(const DeviceLanes& lanes, const model::NeedlePromptMaker& maker,
                          const model::TextTokenizer& tokenizer, const NeedleJob& job, const MakeDecoder& make_decoder,
                          const std::function<void(NeedleRow)>& on_row, const std::atomic<bool>* stop);

}  // namespace longrope::search
