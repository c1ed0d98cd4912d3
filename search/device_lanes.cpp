#include "search/device_lanes.hpp"

#include <fmt/core.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <limits>

#include "kernels/error.hpp"

namespace longrope::search {

/// Tasks not yet taken: those never tried, in order, after those a retired device gave back.
struct DeviceLanes::Queue {
  std::size_t tasks = 0;
  const Body* body = nullptr;
  const Failed* failed = nullptr;
  const std::atomic<bool>* stop = nullptr;

  std::mutex mutex;
  std::size_t next = 0;
  std::deque<std::size_t> again;
  std::exception_ptr error;  ///< the first that ends the run

  bool take(std::size_t& task) {
    const std::lock_guard lock(mutex);
    if (error || (stop != nullptr && stop->load(std::memory_order_relaxed))) return false;
    if (!again.empty()) {
      task = again.front();
      again.pop_front();
      return true;
    }
    if (next == tasks) return false;
    task = next++;
    return true;
  }
  void give_back(std::size_t task) {
    const std::lock_guard lock(mutex);
    again.push_back(task);
  }
  void fail(std::exception_ptr reason) {
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(reason);
  }
  bool ended() {
    const std::lock_guard lock(mutex);
    return error || (stop != nullptr && stop->load(std::memory_order_relaxed));
  }
  bool work_left() {
    const std::lock_guard lock(mutex);
    return next < tasks || !again.empty();
  }
};

namespace {

/// Whether a device still does what it is asked.
bool answers(const kernels::Backend& backend) {
  try {
    backend.allocate(256);
    backend.finish();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

/// A transformer that somebody else owns.
std::shared_ptr<const model::Transformer> borrowed(const model::Transformer& transformer) {
  return {std::shared_ptr<void>(), &transformer};
}

}  // namespace

DeviceLanes::DeviceLanes(std::vector<DeviceLane> lanes, std::function<void(const std::string&)> warn)
    : lanes_(std::move(lanes)), warn_(std::move(warn)), retired_(lanes_.size()) {
  if (lanes_.empty()) throw InputError("[devices] must be at least one but got none");
  for (const DeviceLane& lane : lanes_) {
    if (lane.windows_at_once < 1) {
      throw InputError(
          fmt::format("[devices] {} must run at least 1 window at once but got {}", lane.name, lane.windows_at_once));
    }
  }
}

DeviceLanes::DeviceLanes(const model::Transformer& transformer)
    : DeviceLanes({{"the device", nullptr, borrowed(transformer), std::numeric_limits<std::int64_t>::max(), false}}) {}

std::int64_t DeviceLanes::workers() const {
  const std::int64_t threads = std::min<std::int64_t>(
      tbb::this_task_arena::max_concurrency(),
      static_cast<std::int64_t>(tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism)));
  std::int64_t workers = 0;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    if (!retired(lane)) {
      workers +=
          lanes_[lane].feeds_device ? lanes_[lane].windows_at_once : std::min(lanes_[lane].windows_at_once, threads);
    }
  }
  return std::max<std::int64_t>(1, workers);
}

bool DeviceLanes::retire(std::size_t lane, const std::string& reason) const {
  const std::lock_guard lock(retire_mutex_);
  if (retired(lane)) return true;
  std::size_t left = 0;
  for (std::size_t other = 0; other < lanes_.size(); ++other) left += other != lane && !retired(other) ? 1 : 0;
  if (left == 0) return false;
  retired_[lane].store(true, std::memory_order_relaxed);
  if (warn_) {
    warn_(fmt::format("[devices] {} is left out from now on, {} left: {}", lanes_[lane].name, left, reason));
  }
  return true;
}

void DeviceLanes::attempt(std::size_t lane, std::size_t task, Queue& queue) const {
  try {
    (*queue.body)(task, lane);
  } catch (const RuntimeError& error) {
    const DeviceLane& device = lanes_[lane];
    if (retire(lane, error.what())) {
      queue.give_back(task);
    } else if (device.backend != nullptr && !answers(*device.backend)) {
      throw RuntimeError(
          fmt::format("[devices] {} must answer but does not, and no other is left: {}", device.name, error.what()));
    } else {
      (*queue.failed)(task, error.what());
    }
  }
}

void DeviceLanes::work(std::size_t lane, Queue& queue) const {
  std::size_t task = 0;
  while (!retired(lane) && queue.take(task)) {
    try {
      attempt(lane, task, queue);
    } catch (...) {
      queue.fail(std::current_exception());
    }
  }
}

void DeviceLanes::run(std::size_t tasks, const Body& body, const Failed& failed, const std::atomic<bool>* stop) const {
  Queue queue;
  queue.tasks = tasks;
  queue.body = &body;
  queue.failed = &failed;
  queue.stop = stop;

  // The workers of one lane, in its arena or in the caller's.
  struct Crew {
    std::unique_ptr<tbb::task_arena> arena;
    tbb::task_group group;
  };
  // A device may fail when the others have already run out of tasks: then they start again.
  do {
    std::vector<std::unique_ptr<Crew>> crews;
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      if (retired(lane)) continue;
      auto crew = std::make_unique<Crew>();
      const auto workers = static_cast<std::size_t>(
          std::min<std::int64_t>(lanes_[lane].windows_at_once, static_cast<std::int64_t>(tasks)));
      const auto start = [&, lane] {
        for (std::size_t i = 0; i < workers; ++i) crew->group.run([this, lane, &queue] { work(lane, queue); });
      };
      if (lanes_[lane].feeds_device) {
        // No slot is kept for a caller: every lane's workers start at once, while this thread waits for the first.
        crew->arena = std::make_unique<tbb::task_arena>(static_cast<int>(workers), 0);
        crew->arena->execute(start);
      } else {
        start();
      }
      crews.push_back(std::move(crew));
    }
    for (const auto& crew : crews) {
      if (crew->arena) {
        crew->arena->execute([&] { crew->group.wait(); });
      } else {
        crew->group.wait();
      }
    }
  } while (!queue.ended() && queue.work_left());
  if (queue.error) std::rethrow_exception(queue.error);
}

}  // namespace longrope::search
