// The kernel's memory on the host: frames, blocks and the typed views at fixed addresses, frame 0
// and everything beyond the machine's memory absent. Pages are kept read-only between steps, so
// that each step's journal holds exactly the pages it wrote, as they were before.
#pragma once
#include "kernel/core/vendor.hpp"
#include <csetjmp>
#include <cstdint>
#include <functional>
#include <vector>

namespace horos::test {

using namespace horos::core;

inline constexpr u32 machine_blocks = 5;
inline constexpr u32 machine_frames = machine_blocks * frames_per_block;

// All memory is zero and writable by the kernel's steps afterwards.
void reset_memory();

// A page as it was before the step wrote to it.
struct JournalPage {
    const u8* page;
    u8 before[frame_size];
};

// Starts a new step: forgets the pages that were written.
void journal_begin();
const std::vector<const JournalPage*>& journal_pages();
// Frame whose memory a journal page is, or 0 when it belongs to the frame or block table.
Frame journal_frame(const JournalPage& page);
// As they were before the step.
FrameInfo frame_before(Frame f);
BlockInfo block_before(Block b);
const u8* memory_before(Frame f);
inline const u8* memory_now(Frame f) { return reinterpret_cast<const u8*>(&page_tables[f]); }

// Runs kernel code; an access to memory that the kernel does not have throws a Violation, as does
// a report of UBSan or ASan.
void run_guarded(const std::function<void()>& code);

} // namespace horos::test
