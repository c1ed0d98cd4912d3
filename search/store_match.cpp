#include "search/store_match.hpp"

#include <fmt/format.h>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

class Comparison {
 public:
  explicit Comparison(const std::filesystem::path& file) : file_(file) {}

  template <typename T>
  void same(const char* what, const T& stored, const T& job) const {
    if (stored == job) return;
    throw InputError(
        fmt::format("[store] {} holds {} '{}' but this job's is '{}' (--resume continues the same job only)",
                    file_.string(), what, stored, job));
  }

  void same(const char* what, const std::vector<std::int64_t>& stored, const std::vector<std::int64_t>& job) const {
    same(fmt::format("number of windows").c_str(), stored.size(), job.size());
    for (std::size_t w = 0; w < stored.size(); ++w)
      same(fmt::format("{} of window {}", what, w).c_str(), stored[w], job[w]);
  }

 private:
  const std::filesystem::path& file_;
};

}  // namespace

void require_same_job(const std::filesystem::path& file, const StoreHeader& stored, const StoreHeader& job) {
  const Comparison comparison(file);
  const StoreModel &m = stored.model, &n = job.model;
  comparison.same("model architecture", m.architecture, n.architecture);
  comparison.same("model rotary_dim", m.rotary_dim, n.rotary_dim);
  comparison.same("model theta", m.theta, n.theta);
  comparison.same("model original length", m.original_length, n.original_length);
  comparison.same("model parameters", m.parameters, n.parameters);
  comparison.same("model sha256", m.config_sha256, n.config_sha256);
  comparison.same("model weights sha256", m.weights_sha256, n.weights_sha256);

  const StoreStage &s = stored.stage, &t = job.stage;
  comparison.same("stage", s.name, t.name);
  comparison.same("stage index", s.index, t.index);
  comparison.same("stage base", s.base, t.base);
  comparison.same("base factors", fmt::format("{}", fmt::join(s.base_factors, ",")),
                  fmt::format("{}", fmt::join(t.base_factors, ",")));
  comparison.same("target length", s.target_length, t.target_length);
  comparison.same("strategy", s.strategy, t.strategy);
  comparison.same("objectives", s.objectives, t.objectives);
  comparison.same("seed", stored.seed, job.seed);
  comparison.same("options", s.options, t.options);

  const StoreCorpus &c = stored.corpus, &d = job.corpus;
  comparison.same("protocol", c.protocol, d.protocol);
  comparison.same("length", c.window_length, d.window_length);
  comparison.same("document", c.window_document, d.window_document);
  comparison.same("first token", c.window_first_token, d.window_first_token);
  comparison.same("corpus tokens sha256", c.tokens_sha256, d.tokens_sha256);
}

}  // namespace longrope::search
