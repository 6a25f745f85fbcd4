// Random hypercall sequences on the booted kernel: what each call answers is what spec/ answers.
// user/native/replay makes the calls in the root task's place; core-replay runs the same sequence
// through the specification, without the kernel.
#include "tools/machine/bundles.hpp"
#include "tools/machine/machine.hpp"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace horos::test {
namespace {

using machine::Machine;
using machine::run;
using std::chrono::seconds;
namespace fs = std::filesystem;

// A bundle whose root task is the replay program, in files of its own: tests run side by side.
std::string replay_bundle(unsigned seed) {
    const fs::path programs =
        fs::path(HOROS_TEST_LOGS) / ("replay-programs-" + std::to_string(seed));
    fs::create_directories(programs);
    const fs::path built = HOROS_PROGRAMS;
    const auto over = fs::copy_options::overwrite_existing;
    for (const char* name : {"console.prog", "ticker.prog"})
        fs::copy_file(built / name, programs / name, over);
    fs::copy_file(built / "replay.prog", programs / "root.prog", over);
    const std::string bundle = (programs / "replay.bundle").string();
    std::string output;
    const int status = run(std::string(HOROS_PACK) + " build " + HOROS_TEST_DESCRIPTIONS +
                               "/ticker.toml --programs " + programs.string() + " -o " + bundle,
                           output);
    EXPECT_EQ(status, 0) << output;
    return bundle;
}

std::vector<std::string> answers(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
        if (!line.empty() && line.back() == '\r')
            line.pop_back();
        if (line.starts_with("s ") || line.starts_with("q "))
            lines.push_back(line);
    }
    return lines;
}

void replay(unsigned seed, unsigned steps) {
    const std::string numbers = std::to_string(seed) + " " + std::to_string(steps);
    std::string specified;
    ASSERT_EQ(run(std::string(HOROS_CORE_REPLAY) + " " + numbers, specified), 0) << specified;
    Machine m({.bundle = replay_bundle(seed),
               .append = "seed=" + std::to_string(seed) + " steps=" + std::to_string(steps),
               .name = "replay-" + std::to_string(seed),
               .cores = 1,
               .memory_mib = 256});
    ASSERT_TRUE(m.expect_log("replay: done", seconds(180))) << m.tails();
    const std::vector<std::string> expected = answers(specified);
    const std::vector<std::string> real = answers(m.log());
    ASSERT_GT(expected.size(), steps);
    ASSERT_EQ(real.size(), expected.size()) << m.tails();
    for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_EQ(real[i], expected[i])
            << "kernel and specification differ at line " << i << " (mark, step, error, values)";
}

TEST(Replay, Seed1) { replay(1, 4000); }
TEST(Replay, Seed2) { replay(2, 4000); }
TEST(Replay, Seed3) { replay(3, 4000); }

} // namespace
} // namespace horos::test
