// Schema version 1 of the store: which groups, attributes and data sets there are. Names are the ones notebooks use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "search/hdf5_file.hpp"
#include "search/store.hpp"

namespace longrope::search {

inline constexpr std::int64_t kSchemaVersion = 1;
inline constexpr std::int64_t kMaxPairs = 4096, kMaxWindows = 1000000, kMaxNameBytes = 255;
inline constexpr std::size_t kMaxObjectives = 64, kMaxStages = 1000;

/// Printable, without '/', not empty: fit to name a group.
bool is_group_name(const std::string& name);

/// Data sets without rows.
void create_all(const Hdf5Object& group, const std::vector<DatasetLayout>& layouts);
/// `owner`/model.
void write_model(const Hdf5Object& owner, const StoreModel& model);

/// Writes headers and tables into a fresh file, and an empty group for each stage. Everything a stage will need is made
/// here, for nothing can be added in SWMR mode. stages: in order of their index.
void write_schema(const Hdf5Object& file, const std::vector<StoreContents>& stages,
                  const std::vector<StoreTable>& tables);

/// The growing data sets of a stage, open for appending.
class StageAppender {
 public:
  StageAppender(const Hdf5Object& file, const StoreHeader& header);

  /// Appends one generation. With `flush`, in such an order that a reader, or whoever finds the file after a kill, sees
  /// its row of /generations only when all else of it is there.
  void append(std::span<const StoreRow> rows, const StoreGeneration& generation, const std::string& state, bool flush);

  /// Lets go of the data sets without closing them.
  void abandon();

 private:
  void append_rows(std::span<const StoreRow> rows);
  /// All but /generations/generation.
  std::vector<Hdf5Object*> all_but_commit();

  std::size_t pairs_, windows_, objective_count_;
  Hdf5Object id_, generation_, origin_, parents_, factors_, start_tokens_, attention_factor_, nll_nats_, tokens_,
      objectives_, status_, reason_, cost_, elapsed_s_;
  Hdf5Object frontier_generation_, frontier_id_, frontier_objectives_, frontier_row_, state_bytes_, state_index_;
  Hdf5Object best_id_, best_objective_, evaluations_, generations_cost_, generations_elapsed_s_, hypervolume_,
      generations_generation_;
  std::int64_t row_count_ = 0, state_size_ = 0, generation_count_ = 0;
};

}  // namespace longrope::search
