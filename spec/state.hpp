// Words for talking about the kernel's state (kernel/core/state.hpp): who owns what, what an object
// is, what a slot holds. The calls are specified with these.
#pragma once
#include "spec/answer.hpp"

namespace horos::spec {

// ---- frames and blocks (frames.cpp)
inline constexpr u32 last_generation = ~u32{0} - 1; // an object's; one more and nothing is made
inline constexpr u16 most_references = 0xffff;

inline bool exists(Frame f) { return f != 0 && f < machine.frame_limit; }
inline Block block_of(Frame f) { return f / frames_per_block; }
inline bool block_exists(Block b) {
    return b < max_blocks && b * frames_per_block < machine.frame_limit;
}
inline bool is(Frame f, ObjectType type) { return exists(f) && frames[f].type == type; }

// The domain that a frame or block belongs to; 0 = nobody.
Frame owner_of(Frame f);
Frame owner_of_block(Block b);

// Whether a frame is ordinary memory of that domain, to be handled singly.
Error memory_of(Frame domain, Frame f);
// Whether, besides, it can become an object: nothing maps it, nothing refers to it.
Error raw_memory_of(Frame domain, Frame f);
// Whether a block is a whole one of that domain.
Error whole_block_of(Frame domain, Block b);

// Ordinary memory becomes an object, cleared. Its generation is raised, so that no capability to
// what it was means the object.
void make(Frame f, ObjectType type);
// An object becomes ordinary memory, cleared; every capability to it is dead.
void unmake(Frame f);
void raise_generation(Frame f);
void change_owner(Frame f, Frame domain);

inline bool may_refer(Frame f) { return frames[f].references < most_references; }
inline void refer(Frame f) { frames[f].references++; }
inline void unrefer(Frame f) { frames[f].references--; }
// On which cores a space is loaded, or runs as a guest's memory (spaces.cpp).
u64 cores_using(Frame space);
// What that says of one core; for the prover, that does not look at all of them each time.
bool says_cores_using(u64 users, Frame space, u32 core);

// ---- capabilities (caps.cpp)
struct Cap {
    u32 object = 0;
    u32 generation = 0;
    u32 badge = 0;
    ObjectType type = ObjectType::ram;
    u8 rights = 0;
};

// The capability that a selector of the domain names, if it is alive...
Error find(Frame domain, u32 selector, Cap& out);
// ... and names an object of that type, with at least those rights.
Error find(Frame domain, u32 selector, ObjectType type, u8 rights, Cap& out);
// Whether a selector names a slot that is empty.
Error vacant(Frame domain, u32 selector);
// Fills a slot that is there.
void put(Frame domain, u32 selector, const Cap& cap);
// All rights to an object.
Cap full(Frame object);
u32 generation_of(ObjectType type, u32 object);

// ---- masks
inline bool has(u64 mask, u32 bit) { return (mask >> bit & 1) != 0; }
constexpr u64 bit(u32 n) { return u64{1} << n; }
inline void include(u16& mask, u32 n) { mask = static_cast<u16>(mask | 1u << (n & 15)); }
inline void exclude(u16& mask, u32 n) { mask = static_cast<u16>(mask & ~(1u << (n & 15))); }

} // namespace horos::spec
