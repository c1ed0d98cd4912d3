#include "search/needle_runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <mutex>
#include <numeric>

#include "kernels/error.hpp"
#include "search/needle_store.hpp"

namespace longrope::search {
namespace {

using Clock = std::chrono::steady_clock;

/// A cell of one length that is to be run, under one scaling.
struct Work {
  std::int64_t cell;      ///< NeedleRow::cell
  std::size_t prompt;     ///< among those of the length
  bool finished = false;  ///< a device that fails gives the rest of its run back
};

/// Contiguous cells of one scaling, for one worker.
struct Run {
  std::size_t rope;
  std::vector<Work> works;
};

struct Prompt {
  model::NeedleCell cell;
  model::NeedlePrompt made;
};

NeedleRow row_of(const Work& work, const Prompt& prompt, std::size_t rope) {
  NeedleRow row;
  row.cell = work.cell;
  row.rope = static_cast<std::int32_t>(rope);
  row.length = prompt.cell.length;
  row.depth_percent = prompt.cell.depth_percent;
  row.trial = prompt.cell.trial;
  row.document = prompt.made.document;
  row.prompt_tokens = static_cast<std::int64_t>(prompt.made.prompt.size());
  row.answer_tokens = static_cast<std::int64_t>(prompt.made.answer.size());
  row.answer = needle_row_text(prompt.made.answer_text);
  row.nll_nats = std::numeric_limits<double>::quiet_NaN();
  return row;
}

}  // namespace

std::int64_t longest_answer(const model::NeedlePromptMaker& maker, const NeedleGrid& grid) {
  std::size_t longest = 0;
  for (std::size_t i = 0; i < grid.cells(); ++i) longest = std::max(longest, maker.make(grid.cell(i), 0).answer.size());
  return static_cast<std::int64_t>(longest);
}

void check_prompts(const model::NeedlePromptMaker& maker, const NeedleGrid& grid, std::int64_t new_tokens,
                   std::int64_t vocabulary) {
  for (std::size_t i = 0; i < grid.cells(); ++i) {
    const model::NeedlePrompt made = maker.make(grid.cell(i), new_tokens);
    for (const std::vector<std::int32_t>* ids : {&made.prompt, &made.answer}) {
      const std::int32_t largest = *std::max_element(ids->begin(), ids->end());
      if (largest >= vocabulary) {
        throw InputError(
            fmt::format("[needle] tokens must be in the model's vocabulary [0, {}) but got {} (tokenizer and "
                        "model disagree)",
                        vocabulary, largest));
      }
    }
  }
}

NeedlePrefill run_needles(const DeviceLanes& lanes, const model::NeedlePromptMaker& maker,
                          const model::TextTokenizer& tokenizer, const NeedleJob& job, const MakeDecoder& make_decoder,
                          const std::function<void(NeedleRow)>& on_row, const std::atomic<bool>* stop) {
  const std::size_t per_length = job.grid.cells() / job.grid.lengths.size();
  const model::NeedleTask task = maker.options().task;
  const auto stopped = [stop] { return stop != nullptr && stop->load(std::memory_order_relaxed); };
  NeedlePrefill prefill;
  std::mutex mutex;
  for (std::size_t l = 0; l < job.grid.lengths.size() && !stopped(); ++l) {
    std::vector<Prompt> prompts;
    for (std::size_t i = 0; i < per_length; ++i) {
      const model::NeedleCell cell = job.grid.cell(l * per_length + i);
      prompts.push_back({cell, maker.make(cell, job.new_tokens)});
    }
    std::vector<std::size_t> order(per_length);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return prompts[a].made.prompt < prompts[b].made.prompt; });

    std::vector<Run> runs;
    for (std::size_t rope = 0; rope < job.ropes; ++rope) {
      std::vector<Work> works;
      for (const std::size_t i : order) {
        const std::size_t cell = rope * job.grid.cells() + l * per_length + i;
        if (job.done.empty() || !job.done[cell]) works.push_back({static_cast<std::int64_t>(cell), i});
      }
      const std::size_t pieces = std::min(works.size(), static_cast<std::size_t>(lanes.workers()));
      for (std::size_t p = 0; p < pieces; ++p) {
        const auto at = [&](std::size_t piece) {
          return works.begin() + static_cast<std::ptrdiff_t>(works.size() * piece / pieces);
        };
        runs.push_back({rope, {at(p), at(p + 1)}});
      }
    }

    const auto finish = [&](Work& work, NeedleRow row) {
      const std::lock_guard lock(mutex);
      prefill.tokens += row.prompt_tokens;
      on_row(std::move(row));
      work.finished = true;
    };
    const auto run = [&](std::size_t r, std::size_t lane) {
      Run& mine = runs[r];
      const std::unique_ptr<NeedleDecoder> decoder = make_decoder(mine.rope, job.grid.lengths[l], lane);
      for (Work& work : mine.works) {
        if (stopped()) break;
        if (work.finished) continue;
        const auto started = Clock::now();
        const Prompt& prompt = prompts[work.prompt];
        NeedleRow row = row_of(work, prompt, mine.rope);
        bool finite = true;
        if (job.new_tokens > 0) {
          const std::string generated = tokenizer.decode(decoder->generate(prompt.made.prompt, job.new_tokens));
          row.exact = needle_found(task, generated, prompt.made.answer_text) ? 1 : 0;
          row.generated = needle_row_text(generated);
          finite = decoder->finite();
        }
        std::vector<std::int32_t> ids = prompt.made.prompt;
        ids.insert(ids.end(), prompt.made.answer.begin(), prompt.made.answer.end());
        row.nll_nats = decoder->score(ids, row.prompt_tokens).nll_nats;
        row.status = finite && decoder->finite() ? Status::ok : Status::non_finite;
        row.elapsed_s = std::chrono::duration<double>(Clock::now() - started).count();
        finish(work, std::move(row));
      }
      const std::lock_guard lock(mutex);
      prefill.computed += decoder->computed_tokens();
    };
    const auto fail = [&](std::size_t r, const std::string&) {
      for (Work& work : runs[r].works) {
        if (work.finished) continue;
        NeedleRow row = row_of(work, prompts[work.prompt], runs[r].rope);
        row.status = Status::failed;
        finish(work, std::move(row));
      }
    };
    lanes.run(runs.size(), run, fail, stop);
  }
  return prefill;
}

}  // namespace longrope::search
