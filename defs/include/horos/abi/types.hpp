// The numbers that kernel and user programs agree on: sizes, limits and strong index types.
#pragma once
#include <cstddef>
#include <cstdint>

namespace horos::abi {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

inline constexpr u64 frame_bits = 12; // 4 KiB frames
inline constexpr u64 frame_size = u64{1} << frame_bits;
inline constexpr u64 block_bits = 21; // 2 MiB blocks
inline constexpr u64 block_size = u64{1} << block_bits;
inline constexpr u32 frames_per_block = 512;
inline constexpr u32 max_frames = 1u << 24; // 64 GiB of RAM
inline constexpr u32 max_blocks = max_frames / frames_per_block;

inline constexpr u32 slots_per_table = 256; // capability slots in one table frame
inline constexpr u32 tables_per_domain = 4;
inline constexpr u32 frames_per_give = 4;     // at most, by one frame_give
inline constexpr u32 entries_per_reclaim = 4; // of a page table, by one step of frame_reclaim
inline constexpr u32 max_selector = slots_per_table * tables_per_domain;

inline constexpr u32 max_cores = 64;
inline constexpr u32 sc_slots = 16;    // scheduling contexts of one core
inline constexpr u32 max_windows = 16; // windows of one core's major frame
inline constexpr u32 message_words = 4;

inline constexpr u32 max_gsi = 120; // interrupt lines: GSI 0..119
inline constexpr u32 max_msi = 48;  // message-signalled interrupts

// User half of a host address space: below the canonical hole, but for the last block, so that the
// address after a SYSCALL instruction is always canonical. A guest-physical address has 48 bits as
// well (four levels of tables).
inline constexpr u64 user_end = (u64{1} << 47) - block_size;
inline constexpr u64 guest_end = u64{1} << 48;

inline constexpr u64 no_deadline = ~u64{0}; // TSC value that never comes

} // namespace horos::abi
