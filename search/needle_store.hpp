// Needle runs in a store, /needle/NAME: beside the stages of a search, or alone in a file of their own. Rows are
// appended as cells end and can be read while they are; when a run ends they are put in the order of their cells, so
// that a file does not depend on the number of threads. Written as store.hpp says: one writer, whole files renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "search/needle_grid.hpp"
#include "search/needle_result.hpp"
#include "search/store.hpp"

namespace longrope::search {

struct NeedleRun {
  std::string name = "main";
  std::string program_version, created_utc, command_line;
  std::uint64_t seed = 0;
  StoreModel model;
  std::string task;            ///< kNeedleTaskNames
  std::string haystack;        ///< filler or text
  std::string options = "{}";  ///< JSON of all else that decides the result, digests of tables and haystack among it
  std::string status;          ///< running, interrupted, done
  std::vector<std::string> ropes;      ///< specs, as given
  std::vector<std::string> documents;  ///< names, of a haystack of text
  NeedleGrid grid;
  std::vector<NeedleRow> rows;  ///< at most one a cell
  bool open_for_write = false;  ///< the file carries the flag of a writer (running, or killed)

  std::size_t cells() const { return ropes.size() * grid.cells(); }
};

/// Texts of a row that a store holds: at most this many bytes each, cut between characters, and no NUL.
inline constexpr std::size_t kNeedleTextBytes = 256;
std::string needle_row_text(const std::string& text);

/// All needle runs of a store, in order of their names; none where it holds a search only. Throws InputError as
/// read_stages.
std::vector<NeedleRun> read_needle_runs(const std::filesystem::path& file);

/// The one writer of a store, for a needle run.
class NeedleWriter {
 public:
  /// Makes `file`, or adds the run to what it holds. Throws InputError when it has a run of this name (hint: --resume)
  /// or another process writes it; RuntimeError if it cannot be written. run.rows must be empty.
  static NeedleWriter create(const std::filesystem::path& file, const NeedleRun& run);
  /// Continues the run of this name; `run` gets its rows, creation time and command line. Throws InputError when there
  /// is none, or when model, scalings, grid, task, haystack, options or seed differ (saying which and how).
  static NeedleWriter resume(const std::filesystem::path& file, NeedleRun& run);
  ~NeedleWriter();
  NeedleWriter(NeedleWriter&&) noexcept;
  NeedleWriter& operator=(NeedleWriter&&) noexcept;

  /// Appends a cell and hands it to the operating system, so that a kill loses no finished one; about once a second
  /// also to the disk. Throws RuntimeError if the disk fails; the store then still holds all rows before.
  void append(const NeedleRow& row);
  /// Ends writing with the run's status ("done", "interrupted"), rows in order. Nothing can be appended afterwards.
  void finish(const std::string& status);

 private:
  struct Impl;
  explicit NeedleWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace longrope::search
