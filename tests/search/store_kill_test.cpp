// kill -9 at any moment, then resume: the same store in the end.
#include <sys/wait.h>

#include <csignal>
#include <random>

#include "search/store.hpp"
#include "tests/search/store_fixture.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

TEST_CASE("a job killed at random moments ends in the same store as one that ran through") {
  const TemporaryDirectory directory;
  constexpr std::int64_t kBudget = 400, kLimit = 5;
  run_job(directory / "through.h5", kBudget, kLimit, [] {});
  const StoreContents expected = read_store(directory / "through.h5");
  REQUIRE(expected.rows.size() == kBudget);

  const auto file = directory / "killed.h5";
  std::mt19937 random(12345);
  std::size_t committed = 0;
  int kills = 0, gains = 0;
  bool done = false;
  while (!done && kills < 2000) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      try {
        // Slow enough at first that the job outlives 30 kills on any machine.
        run_job(file, kBudget, kLimit, [&] { ::usleep(kills < 30 ? 5000 : 500); });
      } catch (const std::exception& error) {
        std::fprintf(stderr, "child: %s\n", error.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    // Until 30 kills are done, die young; then live longer and longer, so that slow machines end, too.
    ::usleep(static_cast<useconds_t>(random() % (kills < 30 ? 40000u : 20000u * static_cast<unsigned>(kills - 28))));
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFEXITED(status)) {
      REQUIRE(WEXITSTATUS(status) == 0);
      done = true;
      break;
    }
    ++kills;
    if (!std::filesystem::exists(file)) continue;
    const StoreContents contents = read_store(file);
    REQUIRE(contents.rows.size() >= committed);
    gains += contents.rows.size() > committed;
    committed = contents.rows.size();
    for (std::size_t i = 0; i < committed; ++i) REQUIRE(equal(contents.rows[i], expected.rows[i], false));
  }
  REQUIRE(done);
  CHECK(kills >= 20);
  CHECK(gains >= 3);
  const StoreContents contents = read_store(file);
  CHECK(equal(contents, expected));
  CHECK(contents.header.stage.status == "done");
  CHECK(!contents.open_for_write);
  CHECK(!std::filesystem::exists(directory / ".killed.h5.partial"));
}
