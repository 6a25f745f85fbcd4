// What a counterexample that the prover wrote needs: the kernel's tables on the host, as large as
// they can be, and the hypercall run by the specification and by the kernel on the same state.
#pragma once
#include "kernel/core/entry.hpp"
#include "spec/calls.hpp"
#include "spec/invariants.hpp"
#include "tests/core/support/fake_shell.hpp"
#include <array>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#define HOROS_WATCH(replay, field)                                                                 \
    (replay).watch(#field, [] { return static_cast<::horos::core::u64>(field); })

namespace horos::test {

class Replay {
public:
    using Words = std::array<u64, 6>;

    explicit Replay(u32 core) {
        map(&page_tables[0], u64{max_frames} * frame_size);
        map(&frames[0], sizeof(FrameInfo) * u64{max_frames});
        auto blocks_at = reinterpret_cast<u64>(&blocks[0]) & ~(frame_size - 1);
        map(reinterpret_cast<void*>(blocks_at), sizeof(BlockInfo) * u64{max_blocks} + frame_size);
        reset_shell();
        shell.core = core;
    }

    template <class T>
    void set(T& place, u64 value) {
        place = static_cast<T>(value);
    }
    void watch(std::string name, std::function<u64()> read) {
        names_.push_back(std::move(name));
        reads_.push_back(std::move(read));
    }
    u64 kernel(u64 number, const Words& w) {
        return hypercall_table[number](w[0], w[1], w[2], w[3], w[4], w[5]);
    }
    // Result word, values and every watched field must be what spec/ says.
    void compare(u64 number, const Words& w) {
        const std::vector<u64> expected =
            in_child([&] { return spec::spec_table[number](w[0], w[1], w[2], w[3], w[4], w[5]); });
        const std::vector<u64> found = state(kernel(number, w));
        ASSERT_EQ(expected.size(), found.size()) << "spec/ did not come to an end";
        EXPECT_EQ(expected[0], found[0]) << "result word";
        for (size_t i = 0; i < names_.size(); ++i)
            EXPECT_EQ(expected[i + 1], found[i + 1]) << names_[i];
        if ((found[0] & result_values) != 0) {
            for (size_t i = names_.size() + 1; i < found.size(); ++i)
                EXPECT_EQ(expected[i], found[i]) << "value " << i - names_.size() - 1;
        }
    }

private:
    static void map(void* at, u64 size) {
        size = (size + frame_size - 1) & ~u64{frame_size - 1};
        void* p = mmap(at, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        if (p != at)
            throw std::runtime_error("no memory for the kernel's tables");
    }
    std::vector<u64> state(u64 word) const {
        std::vector<u64> all{word};
        for (const auto& read : reads_)
            all.push_back(read());
        for (const u64 v : results[shell.core].v)
            all.push_back(v);
        return all;
    }
    // The state of this process stays as it is.
    std::vector<u64> in_child(const std::function<u64()>& what) const {
        int ends[2];
        if (pipe(ends) != 0)
            return {};
        const pid_t pid = fork();
        if (pid == 0) {
            const std::vector<u64> all = state(what());
            const ssize_t n = write(ends[1], all.data(), all.size() * sizeof(u64));
            _exit(n > 0 ? 0 : 1);
        }
        close(ends[1]);
        std::vector<u64> all;
        for (u64 v = 0; read(ends[0], &v, sizeof v) == sizeof v;)
            all.push_back(v);
        close(ends[0]);
        waitpid(pid, nullptr, 0);
        return all;
    }

    std::vector<std::string> names_;
    std::vector<std::function<u64()>> reads_;
};

} // namespace horos::test
