// Schema of /needle/NAME: its groups, attributes and data sets, and the appending of rows.
#pragma once

#include <span>
#include <vector>

#include "search/hdf5_file.hpp"
#include "search/needle_store.hpp"

namespace longrope::search {

/// Makes /needle with all runs and their rows; nothing where there are none.
void write_needle_schema(const Hdf5Object& file, const std::vector<NeedleRun>& runs);

/// The growing data sets of a run, open for appending.
class NeedleAppender {
 public:
  NeedleAppender(const Hdf5Object& file, const std::string& name);

  /// With `flush`, in such an order that whoever reads sees a row's cell number only when all else of it is there.
  void append(std::span<const NeedleRow> rows, bool flush);
  /// Lets go of the data sets without closing them.
  void abandon();

 private:
  std::vector<Hdf5Object*> all_but_commit();

  Hdf5Object rope_, length_, depth_, trial_, document_, prompt_tokens_, answer_tokens_, exact_, nll_nats_, status_,
      answer_, generated_, elapsed_s_, cell_;
};

}  // namespace longrope::search
