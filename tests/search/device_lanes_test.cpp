// Tasks over several devices, made of CPU backends that fail when told to.
#include "search/device_lanes.hpp"

#include <tbb/global_control.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "kernels/error.hpp"
#include "search/perplexity_evaluator.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::search {
namespace {

using tests::ContainsSubstring;
using tests::WrappingBackend;

constexpr std::size_t kTasks = 60;

DeviceLane bare_lane(const std::string& name, std::int64_t windows_at_once) {
  return {name, std::make_shared<WrappingBackend>(), nullptr, windows_at_once, true};
}

/// What a run did: how often each task came to its end, and where.
struct Log {
  std::mutex mutex;
  std::vector<int> done = std::vector<int>(kTasks);
  std::vector<std::size_t> lane_of = std::vector<std::size_t>(kTasks, 99);
  std::vector<std::string> warnings;
  std::vector<std::string> failures;

  void finish(std::size_t task, std::size_t lane) {
    const std::lock_guard lock(mutex);
    ++done[task];
    lane_of[task] = lane;
  }
  std::function<void(const std::string&)> warn() {
    return [this](const std::string& line) {
      const std::lock_guard lock(mutex);
      warnings.push_back(line);
    };
  }
  DeviceLanes::Failed failed() {
    return [this](std::size_t task, const std::string& reason) {
      finish(task, 99);
      const std::lock_guard lock(mutex);
      failures.push_back(reason);
    };
  }
  std::size_t on_lane(std::size_t lane) const {
    return static_cast<std::size_t>(std::count(lane_of.begin(), lane_of.end(), lane));
  }
  bool each_once() const {
    return std::all_of(done.begin(), done.end(), [](int count) { return count == 1; });
  }
};

TEST_CASE("Every task runs once, on all devices, no more at once than a device takes", "[device_lanes]") {
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, 8);
  Log log;
  std::vector<DeviceLane> list;
  list.push_back(bare_lane("first", 3));
  list.push_back(bare_lane("second", 1));
  const DeviceLanes lanes(std::move(list), log.warn());
  std::atomic<int> running[2] = {0, 0};
  std::atomic<int> most[2] = {0, 0};
  lanes.run(
      kTasks,
      [&](std::size_t task, std::size_t lane) {
        const int now = ++running[lane];
        int seen = most[lane];
        while (now > seen && !most[lane].compare_exchange_weak(seen, now)) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        --running[lane];
        log.finish(task, lane);
      },
      log.failed(), nullptr);
  CHECK(log.each_once());
  CHECK(most[0] <= 3);
  CHECK(most[1] == 1);
  CHECK(log.on_lane(0) > 0);
  CHECK(log.on_lane(1) > 0);
  CHECK(log.warnings.empty());
  CHECK(log.failures.empty());
}

TEST_CASE("A device that fails is retired, its tasks run on the others", "[device_lanes]") {
  for (const std::size_t threads : {4U, 8U}) {
    CAPTURE(threads);
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    Log log;
    std::vector<DeviceLane> list;
    for (const char* name : {"first", "second", "third"}) list.push_back(bare_lane(name, 2));
    const DeviceLanes lanes(std::move(list), log.warn());
    const auto body = [&](std::size_t task, std::size_t lane) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      if (lane == 0 || (lane == 1 && task > kTasks / 2)) throw RuntimeError("[device] gone");
      log.finish(task, lane);
    };
    lanes.run(kTasks, body, log.failed(), nullptr);
    CHECK(log.each_once());
    CHECK(log.on_lane(0) == 0);
    CHECK(log.failures.empty());
    REQUIRE(!log.warnings.empty());
    CHECK(log.warnings.size() <= 2);
    const std::string& line = log.warnings.front();
    CHECK_THAT(line, ContainsSubstring("is left out from now on"));
    CHECK_THAT(line, ContainsSubstring("[device] gone"));

    // For good: the next run does not ask it.
    lanes.run(
        kTasks, [&](std::size_t, std::size_t lane) { CHECK(lane != 0); }, log.failed(), nullptr);
  }
}

TEST_CASE("A device that fails when the others have nothing left to do", "[device_lanes]") {
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, 4);
  Log log;
  std::vector<DeviceLane> list;
  list.push_back(bare_lane("first", 1));
  list.push_back(bare_lane("second", 1));
  const DeviceLanes lanes(std::move(list), log.warn());
  std::atomic<std::size_t> finished{0};
  lanes.run(
      kTasks,
      [&](std::size_t task, std::size_t lane) {
        if (lane == 1) {
          // Holds its task until the first device has done all others and waits, or for a second if it never gets one.
          for (int i = 0; i < 1000 && finished < kTasks - 1; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          throw RuntimeError("[device] gone");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        log.finish(task, lane);
        ++finished;
      },
      log.failed(), nullptr);
  CHECK(log.each_once());
  CHECK(log.on_lane(0) == kTasks);
}

TEST_CASE("The last device keeps its tasks' failures apart while it answers", "[device_lanes]") {
  Log log;
  std::vector<DeviceLane> list;
  list.push_back(bare_lane("only", 2));
  const DeviceLanes lanes(std::move(list), log.warn());
  lanes.run(
      kTasks,
      [&](std::size_t task, std::size_t lane) {
        if (task % 10 == 3) throw RuntimeError("[allocate] no memory");
        log.finish(task, lane);
      },
      log.failed(), nullptr);
  CHECK(log.each_once());
  CHECK(log.failures.size() == kTasks / 10);
  CHECK(log.failures.front() == "[allocate] no memory");
  CHECK(log.warnings.empty());
}

TEST_CASE("A last device that does not answer ends the run with one error", "[device_lanes]") {
  Log log;
  const auto backend = std::make_shared<WrappingBackend>();
  backend->fail_after(0, true);
  const kernels::AttentionShape shape{1, 1, 8, 8};
  std::vector<DeviceLane> list{{"only", backend, nullptr, 2, true}};
  const DeviceLanes lanes(std::move(list), log.warn());
  std::atomic<int> calls{0};
  const auto body = [&](std::size_t, std::size_t) {
    ++calls;
    const auto kv = backend->make_kv_buffer(shape, 1);
    backend->attention(shape, {}, *kv, 0, 0, {});
  };
  CHECK_THAT(tests::message_of<RuntimeError>([&] { lanes.run(kTasks, body, log.failed(), nullptr); }),
             ContainsSubstring("only must answer but does not, and no other is left: [attention]"));
  CHECK(calls <= 2);
  CHECK(log.failures.empty());
}

TEST_CASE("A stop request ends a run early, another error ends it with that error", "[device_lanes]") {
  Log log;
  std::vector<DeviceLane> list;
  list.push_back(bare_lane("only", 1));
  const DeviceLanes lanes(std::move(list), log.warn());
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> calls{0};
  lanes.run(
      kTasks, [&](std::size_t, std::size_t) { stop = ++calls == 5; }, log.failed(), &stop);
  CHECK(calls == 5);
  CHECK(tests::message_of<InputError>([&] {
          lanes.run(
              kTasks, [](std::size_t, std::size_t) { throw InputError("[test] wrong"); }, log.failed(), nullptr);
        }) == "[test] wrong");
  CHECK(tests::message_of<InputError>([] { const DeviceLanes none({}); }) != "");
}

/// Results of a few tables on a few windows, by lanes made of these backends.
class Evaluation {
 public:
  Evaluation() : config_((write(), model::read_model_config(directory_.path()))), files_(directory_.path()) {
    corpus_.documents.push_back({"random", tests::random_ids(400, shape_.vocabulary, 5)});
    for (const double factor : {1.0, 1.5, 2.0, 4.0, 1e300}) {
      tables_.push_back(model::RopeTable::from_factors(
          config_.rope, std::vector<double>(static_cast<std::size_t>(config_.rope.pairs()), factor), 1.0, 0));
    }
  }

  std::vector<EvalResult> run(const std::vector<std::shared_ptr<WrappingBackend>>& backends, Log& log) {
    std::vector<DeviceLane> list;
    for (std::size_t i = 0; i < backends.size(); ++i) {
      list.push_back(
          {"device " + std::to_string(i), backends[i],
           std::make_shared<model::Transformer>(config_, files_, *backends[i], model::WindowLayout{256, false}), 2,
           true});
    }
    const DeviceLanes lanes(std::move(list), log.warn());
    const PerplexityEvaluator evaluator(lanes, corpus_, model::make_windows(corpus_, {}, 100, 4),
                                        kernels::RotationPrecision::exact);
    std::atomic<std::size_t> finished{0};
    auto results = evaluate_all(
        evaluator, tables_, 1, [&] { ++finished; }, nullptr);
    CHECK(finished == tables_.size() * evaluator.windows().size());
    return results;
  }

 private:
  bool write() {
    tests::write_tiny_checkpoint(directory_.path(), shape_);
    return true;
  }
  tests::ScratchDirectory directory_;
  tests::TinyShape shape_;
  model::ModelConfig config_;
  model::TensorFiles files_;
  model::Corpus corpus_;
  std::vector<model::RopeTable> tables_;
};

void check_equal(const std::vector<EvalResult>& a, const std::vector<EvalResult>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t c = 0; c < a.size(); ++c) {
    CHECK(a[c].status == Status::ok);
    CHECK(b[c].status == Status::ok);
    CHECK(b[c].reason == "");
    REQUIRE(a[c].windows.size() == b[c].windows.size());
    for (std::size_t w = 0; w < a[c].windows.size(); ++w) CHECK(a[c].windows[w].nll_nats == b[c].windows[w].nll_nats);
  }
}

TEST_CASE("Perplexities do not depend on the devices, nor on one that is lost half-way", "[device_lanes]") {
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, 6);
  Evaluation evaluation;
  Log log;
  const auto fresh = [] { return std::make_shared<WrappingBackend>(); };
  const auto expected = evaluation.run({fresh()}, log);
  check_equal(expected, evaluation.run({fresh(), fresh(), fresh()}, log));
  CHECK(log.warnings.empty());

  // 5 tables of 4 windows and 2 layers: 40 attention calls. The second device is lost in its fourth.
  const auto losing = fresh();
  losing->fail_after(3, true);
  check_equal(expected, evaluation.run({fresh(), losing}, log));
  if (losing->attention_calls() > 3) {
    REQUIRE(log.warnings.size() == 1);
    CHECK_THAT(log.warnings.front(), ContainsSubstring("device 1 is left out from now on, 1 left: ["));
  }
}

TEST_CASE("Where no device is left that can, tables fail as results", "[device_lanes]") {
  Evaluation evaluation;
  Log log;
  const auto failing = std::make_shared<WrappingBackend>();
  failing->fail_after(0, false);
  for (const EvalResult& result : evaluation.run({failing}, log)) {
    CHECK(result.status == Status::failed);
    CHECK_THAT(result.reason, ContainsSubstring("the test says that this device fails"));
    REQUIRE(result.objectives.size() == 1);
    CHECK(std::isnan(result.objectives.front()));
  }
}

}  // namespace
}  // namespace longrope::search
