#include "search/paired_difference.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace longrope::search {

PairedDifference paired_difference(std::span<const WindowScore> a, std::span<const WindowScore> b,
                                   std::span<const model::Window> windows) {
  struct Cluster {
    double difference_nats = 0.0;
    double tokens = 0.0;
  };
  std::set<std::int64_t> documents;
  for (const model::Window& window : windows) documents.insert(window.document);
  std::map<std::int64_t, Cluster> clusters;
  double difference_nats = 0.0;
  double tokens = 0.0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const double d = a[w].nll_nats - b[w].nll_nats;
    const auto n = static_cast<double>(a[w].tokens);
    Cluster& cluster = clusters[documents.size() > 1 ? windows[w].document : static_cast<std::int64_t>(w)];
    cluster.difference_nats += d;
    cluster.tokens += n;
    difference_nats += d;
    tokens += n;
  }
  PairedDifference result;
  result.clusters = static_cast<std::int64_t>(clusters.size());
  result.nats_per_token = difference_nats / tokens;
  result.standard_error = std::numeric_limits<double>::quiet_NaN();
  if (clusters.size() >= 2) {
    double residuals = 0.0;  // of the ratio estimator sum(d)/sum(n)
    for (const auto& [key, cluster] : clusters) {
      const double r = cluster.difference_nats - result.nats_per_token * cluster.tokens;
      residuals += r * r;
    }
    const auto c = static_cast<double>(clusters.size());
    result.standard_error = std::sqrt(c / (c - 1.0) * residuals) / tokens;
  }
  return result;
}

}  // namespace longrope::search
