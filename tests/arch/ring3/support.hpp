// For programs that take the root task's place in order to test the kernel's ways in and out.
#pragma once
#include <horos/abi/boot_page.hpp>
#include <horos/abi/objects.hpp>
#include <horos/user/stubs.hpp>

namespace horos::ring3 {

using abi::u32;
using abi::u64;
using abi::u8;
namespace own = abi::root_selector;

inline void say(const char* text) {
    for (u32 at = 0; text[at] != 0;) {
        u64 words[4] = {};
        u8 size = 0;
        for (; size < 32 && text[at] != 0; ++at, ++size)
            words[size / 8] |= u64{static_cast<u8>(text[at])} << size % 8 * 8;
        (void)user::log(own::platform, size, words[0], words[1], words[2], words[3]);
    }
}

inline void say(u64 value) {
    char digits[24] = {};
    u32 at = sizeof digits - 1;
    do {
        digits[--at] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    say(digits + at);
}

[[noreturn]] inline void end() {
    (void)user::platform_control(own::platform, static_cast<u32>(abi::PlatformOp::reset), 0);
    while (true)
        asm volatile("");
}

inline void must(const char* what, abi::Error error) {
    if (error == abi::Error::ok)
        return;
    say(what);
    say(" failed: error ");
    say(static_cast<u64>(error));
    say("\n");
    end();
}

// Frames of a block that was split for the purpose.
inline u32 fresh_frames(const abi::BootPage& page) {
    for (u32 i = 0; i < page.range_count; ++i) {
        const u64 first = (page.ranges[i].first_frame + 511) / 512 * 512;
        if (first + 512 > page.ranges[i].first_frame + page.ranges[i].frame_count)
            continue;
        must("block_split", user::block_split(static_cast<u32>(first / 512)).error);
        return static_cast<u32>(first);
    }
    must("finding memory", abi::Error::bad_frame);
    return 0;
}

// A stopped thread of our own domain and space, at `position` of a core. Takes two frames.
inline void make_thread(u32& frame, u32 thread, u32 context, u32 core, u8 position) {
    must("thread_create", user::thread_create(frame++, thread, own::domain, own::space).error);
    must("sc_create", user::sc_create(frame++, context, own::first_core + core, position, 0).error);
    must("sc_bind", user::sc_bind(context, thread).error);
}

} // namespace horos::ring3
