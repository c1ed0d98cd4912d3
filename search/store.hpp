// The HDF5 file of a job, schema version 1: appended generation by generation, readable while it grows (SWMR),
// resumable after a kill. Only this file's implementation calls HDF5 for writing.
//
// Crash safety: a generation counts once its row in /stages/NAME/generations/generation is flushed, which happens last.
// Neither resuming nor finishing writes into the file that is there: committed rows are read, written to a new file
// beside it (.NAME.partial), and that is renamed over it.
// One writer: an OFD write lock (fcntl) on the file; a second writer is refused.
// Several stages (progressive extension, repair): one of them grows at a time. A stage is added as a file is resumed,
// in a new file beside it. What differs between stages (model, corpus, holdout, seed) stands at the root for the first
// one and in the stage's own group for later ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "search/candidate.hpp"

namespace longrope::search {

struct StoreModel {
  std::string name, architecture, config_sha256;
  std::int64_t parameters = 0, rotary_dim = 0, original_length = 0;
  double theta = 0.0;
  std::string weights_sha256;  ///< of samples of the weights (TensorFiles::sample_sha256)
};

/// The key tokens of a corpus' windows (objectives key-ppl@N), chosen before the search and not again on resume.
struct StoreKeyTokens {
  std::string settings;                        ///< JSON: how they were chosen, and of what; "": there are none
  std::string sha256;                          ///< of windows and positions
  std::vector<std::int64_t> window, position;  ///< [n]: number of the window, position in it; ascending
  std::vector<std::int64_t> scored;            ///< [W]: the targets they were chosen from; 0: of another objective
};

struct StoreCorpus {
  std::string sources, protocol;              ///< sources: newline-separated
  std::vector<std::string> document_names;    ///< [n]
  std::vector<std::int64_t> document_tokens;  ///< [n]
  std::string tokens_sha256;                  ///< digest of all window token ids: another corpus is refused on resume
  std::vector<std::int64_t> window_document, window_first_token, window_length;  ///< [W]; document -1: no document's
  std::vector<std::int64_t> window_needle_first = {};  ///< [W] where a needle stands, -1: none; empty: none has one
  StoreKeyTokens key_tokens = {};
};

struct StoreStage {
  std::string name = "main";
  std::int32_t index = 0;
  std::int64_t target_length = 0;
  std::string base;  ///< "", STAGE/ID or a rope spec
  std::string strategy;
  std::string options;           ///< JSON of everything that decides the result (space, precision, budget-independent)
  std::string objectives;        ///< "ppl@2048,ppl@256": K of them; the windows are K blocks of the same number
  std::int64_t budget = 0;       ///< full evaluations
  std::string status;            ///< running, interrupted, done
  std::string stop_reason = "";  ///< see kStopReasonNames; "" while it runs
  std::vector<double> base_factors = {};  ///< [d/2] absolute factors that searched ones multiply; empty: 1
  std::string baselines = "";             ///< names of the rows of generation -1, with commas; "": pi,ntk,yarn[,none]
  std::vector<double> original_objectives = {};  ///< [K] of the model before it was extended (repair); empty: not known
};

/// One table scored on text that the search never saw.
struct StoreHoldoutRow {
  std::string name;      ///< best, runner_up, pi, ntk, yarn
  std::int64_t id = -1;  ///< row of /evaluations
  EvalResult result;     ///< windows: [W of the holdout]
};

struct StoreHoldout {
  StoreCorpus corpus;
  std::vector<StoreHoldoutRow> rows;  ///< empty until the search is done
  std::string verdict;                ///< in words; empty until then
};

struct StoreHeader {
  std::string program_version, created_utc, command_line;
  std::uint64_t seed = 0;
  StoreModel model;
  StoreCorpus corpus;
  StoreStage stage;
  std::optional<StoreHoldout> holdout;
};

/// A point of a frontier.
struct StorePoint {
  std::int64_t id = -1;
  std::vector<double> objectives;  ///< [K]
  bool operator==(const StorePoint&) const = default;
};

/// One committed generation, as one append wrote it; generation -1 holds the baselines (pi, ntk, yarn in that order).
/// A generation that a budget cut in two has two of these.
struct StoreGeneration {
  std::int32_t generation = -1;
  std::int64_t best_id = -1;     ///< best of all strategy candidates so far; -1: none yet
  double best_objective = 0.0;   ///< NaN: none yet
  std::int64_t evaluations = 0;  ///< rows of /evaluations so far, baselines included
  double cost = 0.0;             ///< full evaluations so far
  double elapsed_s = 0.0;        ///< seconds of the job so far, all sessions together
  double hypervolume = std::numeric_limits<double>::quiet_NaN();  ///< of the frontier; NaN: not known
  std::vector<StorePoint> frontier = {};                          ///< non-dominated complete candidates so far
};

/// Ids are the row's position. `windows` may be empty for a candidate that was not scored; it is read back as NaN and
/// 0.
struct StoreRow {
  Candidate candidate;
  EvalResult result;
};

/// Everything a store holds of one stage, in memory.
struct StoreContents {
  StoreHeader header;
  std::vector<StoreRow> rows;  ///< committed ones only
  std::vector<StoreGeneration> generations;
  std::vector<std::string> states;  ///< strategy state after each generation
  bool open_for_write = false;      ///< the file carries the flag of a writer (running, or killed)
};

/// The tables of a stage, as /tables/NAME holds them: one for all lengths (long and short are equal), or after a repair
/// one up to switch_length tokens and one beyond.
struct StoreTable {
  std::string name;
  std::vector<double> long_factors, short_factors;  ///< [d/2]
  double attention_factor = 1.0;                    ///< of the long table
  std::int64_t target_length = 0, original_length = 0;
  double short_attention_factor = 1.0;
  std::int64_t start_tokens = 0, short_start_tokens = 0;
  std::int64_t switch_length = 0;  ///< the short table is for up to this many tokens; 0: for all, there is one table

  bool has_short() const { return switch_length > 0; }
};

/// What a finished store gets besides its rows.
struct StoreEnding {
  std::string stop_reason;
  std::vector<StoreHoldoutRow> holdout_rows;  ///< for a header with a holdout
  std::string holdout_verdict;
};

/// Reads a store, also while it is being written or after a kill. Throws InputError: not HDF5, another schema, damaged.
/// stage: its name; "": the stage for the longest context that has an evaluated table, the latest of several.
StoreContents read_store(const std::filesystem::path& file, const std::string& stage = "");
/// The stage that "" stands for.
std::size_t longest_stage(const std::vector<StoreContents>& stages);
/// All stages, in order of their index; at least one: InputError for a store that holds needle runs only.
std::vector<StoreContents> read_stages(const std::filesystem::path& file);
/// The same, but none where there are needle runs only (search/needle_store.hpp).
std::vector<StoreContents> read_any_stages(const std::filesystem::path& file);
std::vector<StoreTable> read_store_tables(const std::filesystem::path& file);

/// The one writer of a store.
class StoreWriter {
 public:
  /// Creates `file` whole (temporary name, fsync, rename). Throws InputError if it exists (hint: --resume),
  /// RuntimeError if it cannot be written. `header.stage.status` is what the file says while it is written: "running".
  static StoreWriter create(const std::filesystem::path& file, const StoreHeader& header);
  /// Rewrites the committed part of `file` and continues it; `contents` gets that part. Throws InputError when the
  /// model, corpus, stage (name, index, base, target length, objectives), strategy, options or seed differ (saying
  /// which and how), or when another process writes it. Budget, status and holdout may differ and are updated (a
  /// holdout is scored anew at the end); creation time and command line stay those of the first session, and so do
  /// tables.
  static StoreWriter resume(const std::filesystem::path& file, const StoreHeader& header, StoreContents& contents);
  /// Rewrites `file` with one more stage, which grows from now on. Throws InputError when a stage of this name or of an
  /// index that is not lower is there, when the model has another geometry, or when another process writes it.
  static StoreWriter add_stage(const std::filesystem::path& file, const StoreHeader& header);
  ~StoreWriter();
  StoreWriter(StoreWriter&&) noexcept;
  StoreWriter& operator=(StoreWriter&&) noexcept;

  /// Appends one generation and flushes it to disk. Throws RuntimeError if the disk fails; the store then still holds
  /// all generations before. Throws std::logic_error if ids, sizes or counts do not fit.
  void append(const std::vector<StoreRow>& rows, const StoreGeneration& generation, const std::string& strategy_state);
  /// Ends writing and sets the stage's status ("done" or "interrupted") and stop reason, fills the holdout and adds
  /// /tables entries (one of the same name is replaced). Nothing can be appended afterwards. Throws RuntimeError if the
  /// disk fails.
  void finish(const std::string& status, const std::vector<StoreTable>& tables, const StoreEnding& ending = {});

 private:
  struct Impl;
  explicit StoreWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace longrope::search
