// A root task that makes a random sequence of hypercalls and writes every answer to the log. The
// seed and the number of steps are on the kernel's command line: replay=SEED,STEPS. The host
// compares the log with what the specification answers (tests/system/replay_test.cpp).
#include "steps.hpp"

#include <horos/rt/calls.hpp>
#include <string_view>

namespace horos::replay {
namespace {

class Line {
public:
    void text(std::string_view s) {
        for (const char c : s)
            put(c);
    }
    void number(u64 value) {
        put(' ');
        bool started = false;
        for (int shift = 60; shift >= 0; shift -= 4) {
            const u64 digit = value >> shift & 15;
            started = started || digit != 0 || shift == 0;
            if (started)
                put("0123456789abcdef"[digit]);
        }
    }
    void end() {
        put('\n');
        flush();
    }

private:
    char bytes_[32] = {};
    u8 used_ = 0;

    void put(char c) {
        bytes_[used_++] = c;
        if (used_ == sizeof bytes_)
            flush();
    }
    void flush() {
        u64 words[4] = {};
        __builtin_memcpy(words, bytes_, used_);
        if (used_ != 0)
            (void)user::log(root_selector::platform, used_, words[0], words[1], words[2], words[3]);
        used_ = 0;
    }
};

struct Reply {
    u64 error;
    u64 values[6];
};

Reply hypercall(const Step& step) {
    const u64(&a)[6] = step.arguments;
    Reply r{};
    u64 rax = static_cast<u64>(step.call);
    u64 rdi = a[0];
    u64 rsi = a[1];
    u64 rdx = a[2];
    register u64 r10 asm("r10") = a[3];
    register u64 r8 asm("r8") = a[4];
    register u64 r9 asm("r9") = a[5];
    asm volatile("syscall"
                 : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9)
                 :
                 : "rcx", "r11", "cc", "memory");
    r.error = rax;
    const u64 values[6] = {rdx, rdi, rsi, r8, r9, r10};
    const CallInfo& info = call_table[static_cast<u32>(step.call)];
    for (u32 i = 0; i < 6; ++i)
        r.values[i] = rax == 0 && i < info.returns ? values[i] : 0;
    return r;
}

void perform(const Memory& memory, char mark, u64 index, const Step& step) {
    Reply r = hypercall(step);
    make_comparable(memory, step, r.values);
    Line line;
    line.text(std::string_view(&mark, 1));
    line.number(index);
    line.number(r.error);
    for (u32 i = 0; i < 4; ++i)
        line.number(r.values[i]);
    line.end();
}

// Two blocks that were not split for anything.
Memory find_memory(const BootPage& boot) {
    Memory m;
    for (u32 i = 0; i < boot.range_count; ++i) {
        const MemoryRange& range = boot.ranges[i];
        const u64 first = (range.first_frame + frames_per_block - 1) / frames_per_block;
        const u64 end = (range.first_frame + range.frame_count) / frames_per_block;
        for (u64 b = first; b < end && m.whole_block == 0; ++b) {
            const auto info = user::frame_info(static_cast<u32>(b * frames_per_block));
            if (!info.ok() || (info.type & 0x100) == 0)
                continue;
            (m.pool_block == 0 ? m.pool_block : m.whole_block) = static_cast<u32>(b);
        }
    }
    return m;
}

u64 number_after(std::string_view text, std::string_view key) {
    const std::size_t at = text.find(key);
    u64 value = 0;
    for (std::size_t i = at + key.size(); at != text.npos && i < text.size(); ++i) {
        if (text[i] < '0' || text[i] > '9')
            break;
        value = value * 10 + static_cast<u64>(text[i] - '0');
    }
    return value;
}

void run(const BootPage& boot) {
    const std::string_view words(boot.command_line);
    const u64 seed = number_after(words, "seed=");
    const u64 steps = number_after(words, "steps=");
    const Memory memory = find_memory(boot);
    const Steps sequence(seed, memory);
    (void)user::block_split(memory.pool_block);
    for (u64 i = 0; i < steps; ++i)
        perform(memory, 's', i, sequence.at(i));
    for (u64 i = 0; i < question_count; ++i)
        perform(memory, 'q', i, question(memory, i));
    Line line;
    line.text("replay: done");
    line.end();
}

} // namespace
} // namespace horos::replay

extern "C" [[noreturn]] void horos_root_start(const horos::abi::BootPage* boot) {
    using namespace horos;
    replay::run(*boot);
    (void)user::platform_control(abi::root_selector::platform,
                                 static_cast<abi::u32>(abi::PlatformOp::reset), 0);
    for (;;)
        asm volatile("pause");
}
