// Frames and blocks: who owns them, what they may become.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

inline constexpr u32 max_generation = ~u32{0} - 1;
inline constexpr u16 max_count = 0xffff;

inline bool frame_exists(Frame f) { return f != 0 && f < machine.frame_limit; }
inline Block block_of(Frame f) { return f / frames_per_block; }

// The owner of a frame of a split block; 0 when it is nobody's.
Frame frame_owner(Frame f);

// Changes the owner. A frame whose owner is its block's names none itself.
void set_owner(Frame f, Frame domain);

// Ok when `f` is ordinary memory of `domain` in a split block.
Error check_ram(Frame domain, Frame f);
// Ok when, besides, nothing maps it or refers to it, so that it can become an object.
Error check_retype(Frame domain, Frame f);
// Ok when `b` is a whole block of `domain`.
Error check_block(Frame domain, Block b);

// Makes a frame that check_retype accepted into an object. Its memory is cleared.
void retype(Frame f, ObjectType type);
// Makes an object's frame ordinary memory again: cleared, generation raised.
void unmake(Frame f);
// Raises the generation, which kills every capability to the frame.
void raise_generation(Frame f);
// Clears a frame's memory.
void clear_frame(Frame f);

inline bool can_reference(Frame f) { return frames[f].references < max_count; }
inline void reference(Frame f) { frames[f].references++; }
inline void dereference(Frame f) { frames[f].references--; }

Error frame_info(const Caller&, const FrameInfoArgs&, Values&);
Error block_split(const Caller&, const BlockSplitArgs&);
Error frame_give(const Caller&, const FrameGiveArgs&);
Error block_give(const Caller&, const BlockGiveArgs&);
Error block_reclaim(const Caller&, const BlockReclaimArgs&);
Error frame_share(const Caller&, const FrameShareArgs&);
Error block_share(const Caller&, const BlockShareArgs&);

} // namespace horos::core
