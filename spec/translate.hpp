// What a processor makes of an address of a space: the walk of its page tables, by the architecture
// and not by what the kernel knows about them (APM vol. 2 rev. 3.42 §5.3, §15.25.5; SDM vol. 3C
// §28.3.2).
#pragma once
#include "spec/state.hpp"

namespace horos::spec {

// The page that an access of ring 3 or of a guest reaches, and what it may do there: page << 12 |
// rights. 0: nothing. `space` is a host's or a guest's.
u64 translate(Frame space, u64 address);

constexpr u64 page_of(u64 translation) { return translation >> frame_bits; }
constexpr u8 rights_of(u64 translation) { return static_cast<u8>(translation & 0xff); }

// What a translation may reach in a state where the kernel's invariants hold: ordinary memory that
// is counted as mapped, or device memory that is free. Never a table, an object, a frame of the
// kernel's or one that nobody mapped.
bool reaches_memory(u64 translation);
bool is_user_address(Frame space, u64 address);
// Device memory is what is neither RAM nor a device that the kernel keeps for itself.
bool is_free_device(u64 page);

// Whether a translation is what a call was to map, and the caller had the right to.
bool maps_frame(u64 translation, Frame domain, Frame frame, u8 rights);
bool maps_block(u64 translation, Frame domain, Block block, u8 rights);
bool maps_shared(u64 translation, Frame domain, u32 selector, u8 rights);
bool maps_device(u64 translation, Frame domain, u32 selector, u64 page, u8 rights);

} // namespace horos::spec
