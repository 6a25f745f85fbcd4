// A random sequence of hypercalls, the same on the booted kernel and for the specification on the
// host: step i follows from the seed alone. Frames come from one split block, capabilities go into
// 32 slots of which each is meant for one type, so that calls meet what earlier ones made.
#pragma once
#include <horos/abi/boot_page.hpp>
#include <horos/abi/gen/calls.hpp>
#include <horos/abi/objects.hpp>

namespace horos::replay {

using namespace horos::abi;

inline constexpr u32 first_slot = 32, slot_count = 32;
inline constexpr u32 pool_frames = 96;              // of the 512 of the block
inline constexpr u64 lost_entry = 0x7000'0000'0000; // where nothing is ever mapped

// Two blocks that the root task owns: the first is split before the first step.
struct Memory {
    u32 pool_block = 0;
    u32 whole_block = 0;
};

struct Step {
    Call call = Call::null;
    u64 arguments[6] = {};
};

class Draw {
public:
    Draw(u64 seed, u64 step) : state_(seed * 0x9e37'79b9'7f4a'7c15 + step) { (void)word(); }

    u64 word() { // splitmix64
        u64 z = state_ += 0x9e37'79b9'7f4a'7c15;
        z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
        return z ^ z >> 31;
    }
    u64 below(u64 end) { return word() % end; }
    bool one_in(u64 n) { return below(n) == 0; }

private:
    u64 state_;
};

// What two neighbouring slots are meant for.
enum class Kind : u32 {
    domain,
    host_space,
    guest_space,
    thread,
    sched_context,
    endpoint,
    notification,
    line,
    message,
    ports,
    mmio,
    vcpu,
    memory,
    block,
    core,
    copy
};

class Steps {
public:
    Steps(u64 seed, const Memory& memory) : seed_(seed), memory_(memory) {}
    Step at(u64 index) const;

private:
    u64 seed_;
    Memory memory_;

    u64 frame(Draw& d) const {
        if (d.one_in(32))
            return d.one_in(2) ? 0 : max_frames - 1;
        if (d.one_in(32))
            return u64{memory_.whole_block} * frames_per_block + d.below(4);
        return u64{memory_.pool_block} * frames_per_block + d.below(pool_frames);
    }
    u64 block(Draw& d) const {
        if (d.one_in(16))
            return max_blocks - 1;
        return d.one_in(4) ? memory_.pool_block : memory_.whole_block;
    }
    static u64 slot(Draw& d, Kind kind) {
        if (d.one_in(64))
            return max_selector - d.below(3) + 1;
        if (d.one_in(12))
            return first_slot + d.below(slot_count);
        return first_slot + 2 * static_cast<u32>(kind) + d.below(2);
    }
    // What the root task has from the start, now and then a copy of it.
    static u64 own(Draw& d, u32 selector, Kind copy) {
        return d.one_in(6) ? slot(d, copy) : selector;
    }
    static u64 domain(Draw& d) { return own(d, root_selector::domain, Kind::domain); }
    static u64 rights(Draw& d) { return d.one_in(5) ? d.below(33) : u64{right::all}; }
    static u64 badge(Draw& d) { return d.one_in(4) ? 1 + d.below(9) : 0; }
    static u64 space(Draw& d) {
        return slot(d, d.one_in(2) ? Kind::host_space : Kind::guest_space);
    }
    static u64 address(Draw& d, u64 level) {
        const u64 a = d.below(2) << 30 | d.below(2) << 21 | d.below(3) << 12;
        if (d.one_in(24))
            return a | u64{1} << (47 + d.below(3));
        return d.one_in(16) ? a : a & ~((u64{1} << (12 + 9 * (level - 1))) - 1);
    }
    static u64 map_rights(Draw& d) {
        constexpr u64 good[] = {1, 3, 5, 7};
        return d.one_in(8) ? d.below(34) : good[d.below(4)];
    }
    Step memory_step(Draw& d, u64 which) const;
    Step capability_step(Draw& d, u64 which) const;
    Step space_step(Draw& d, u64 which) const;
    Step thread_step(Draw& d, u64 which) const;
    Step device_step(Draw& d, u64 which) const;
    Step guest_step(Draw& d, u64 which) const;
};

inline Step Steps::memory_step(Draw& d, u64 which) const {
    switch (which) {
    case 0:
        return {Call::frame_info, {frame(d)}};
    case 1:
        if (d.one_in(8))
            return {Call::block_split, {block(d)}};
        return {Call::frame_info, {u64{memory_.whole_block} * frames_per_block + d.below(512)}};
    case 2:
        return {Call::frame_give, {slot(d, Kind::domain), frame(d), d.below(6)}};
    case 3:
        return {Call::block_give, {slot(d, Kind::domain), memory_.whole_block}};
    case 4:
        return {Call::block_reclaim, {domain(d), memory_.whole_block}};
    case 5:
        return {Call::frame_share, {frame(d), slot(d, Kind::memory), rights(d)}};
    case 6:
        return {Call::block_share, {block(d), slot(d, Kind::block), rights(d)}};
    default:
        return {Call::frame_reclaim, {domain(d), frame(d), d.one_in(4) ? d.below(130) : 0}};
    }
}

inline Step Steps::capability_step(Draw& d, u64 which) const {
    const Kind any = static_cast<Kind>(d.below(16));
    constexpr u32 roots[] = {root_selector::irq_control, root_selector::ports, root_selector::mmio,
                             root_selector::first_core};
    switch (which) {
    case 0:
        return {Call::cap_mint,
                {d.one_in(2) ? roots[d.below(4)] : slot(d, any), slot(d, Kind::copy), rights(d),
                 badge(d)}};
    case 1:
        return {Call::cap_mint, {slot(d, any), slot(d, any), rights(d), badge(d)}};
    case 2:
        return {Call::cap_move, {slot(d, any), slot(d, any)}};
    case 3:
        return {Call::cap_delete, {slot(d, any)}};
    case 4:
        return {d.one_in(6) ? Call::cap_revoke : Call::cap_info, {slot(d, any)}};
    case 5:
        return {Call::cap_give,
                {slot(d, Kind::domain), slot(d, any), slot(d, any), rights(d), badge(d)}};
    case 6:
        return {Call::cap_take, {slot(d, Kind::domain), slot(d, any)}};
    case 7:
        return {Call::domain_create, {frame(d), frame(d), slot(d, Kind::domain)}};
    case 8:
        return {Call::domain_add_table, {slot(d, Kind::domain), frame(d), d.below(5)}};
    case 9:
        return {Call::cap_info, {slot(d, any)}};
    default: // slots fill up with capabilities to what is no more
        return {Call::cap_delete, {slot(d, any)}};
    }
}

inline Step Steps::space_step(Draw& d, u64 which) const {
    const u64 level = 1 + d.below(3);
    switch (which) {
    case 0: {
        const u64 kind = d.below(2);
        return {Call::space_create,
                {frame(d), frame(d), slot(d, kind == 0 ? Kind::host_space : Kind::guest_space),
                 d.one_in(16) ? 2 : kind}};
    }
    case 1:
    case 2:
        return {Call::table_map, {space(d), address(d, level + 1), level, frame(d)}};
    case 3:
        return {Call::table_unmap, {space(d), address(d, level + 1), d.one_in(16) ? 4 : level}};
    case 4:
        return {Call::map_frame, {space(d), address(d, 1), frame(d), map_rights(d)}};
    case 5:
        return {Call::map_block, {space(d), address(d, 2), block(d), map_rights(d)}};
    case 6:
        return {Call::map_shared,
                {space(d), address(d, level % 2 + 1),
                 slot(d, level % 2 == 0 ? Kind::memory : Kind::block), map_rights(d)}};
    case 7:
        return {Call::map_mmio,
                {space(d), address(d, 1), slot(d, Kind::mmio), d.below(5), map_rights(d)}};
    default:
        return {Call::unmap, {space(d), address(d, level % 2 + 1), level % 2 + 1}};
    }
}

inline Step Steps::thread_step(Draw& d, u64 which) const {
    const u64 thread = slot(d, Kind::thread);
    const u64 note = slot(d, Kind::notification);
    switch (which) {
    case 0:
        return {Call::thread_create, {frame(d), thread, domain(d), slot(d, Kind::host_space)}};
    case 1: // it finds nothing there and faults at once
        return {Call::thread_start,
                {thread, d.one_in(16) ? user_end : lost_entry + d.below(4096), d.below(1 << 20),
                 d.word(), d.below(1 << 20)}};
    case 2:
        return {d.one_in(3) ? Call::thread_stop : Call::thread_resume, {thread}};
    case 3:
        return {Call::thread_monitor, {thread, note, d.below(4)}};
    case 4:
        return {Call::thread_bind, {thread, note}};
    case 5:
        return {Call::thread_info, {thread, d.one_in(8) ? 7 : d.below(7)}};
    case 6: // position 15 is the root task's own
        return {Call::sc_create,
                {frame(d), slot(d, Kind::sched_context),
                 own(d, root_selector::first_core, Kind::copy), d.below(17),
                 d.one_in(2) ? 0 : u64{1} << 50}};
    case 7:
        return {Call::sc_bind, {slot(d, Kind::sched_context), thread}};
    case 8: // always with all positions, so that the root task goes on
        return {Call::core_window,
                {own(d, root_selector::first_core, Kind::copy), d.below(17),
                 d.one_in(6) ? 9'999 : 10'000'000 + d.below(1 << 20), 0xffff}};
    case 9:
        return {Call::core_schedule, {own(d, root_selector::first_core, Kind::copy), d.below(4)}};
    case 10:
        return {Call::endpoint_create, {frame(d), slot(d, Kind::endpoint)}};
    case 11:
        return {Call::notification_create, {frame(d), note}};
    case 12:
        return {Call::signal, {note, d.below(16)}};
    case 13:
        return {Call::wait, {note, 0}};
    default:
        return {Call::reply, {d.word()}};
    }
}

inline Step Steps::device_step(Draw& d, u64 which) const {
    const u64 control = own(d, root_selector::irq_control, Kind::copy);
    const u64 core = own(d, root_selector::first_core, Kind::copy);
    const u64 note = slot(d, Kind::notification);
    const bool line = d.one_in(2);
    switch (which) {
    case 0:
        return {Call::irq_create,
                {frame(d), slot(d, Kind::line), control, core, d.one_in(8) ? 120 : 10 + d.below(2),
                 d.one_in(8) ? 4 : d.below(4)}};
    case 1:
        return {Call::msi_create,
                {frame(d), slot(d, Kind::message), control, core, d.one_in(8) ? 48 : d.below(4)}};
    case 2:
        return {Call::irq_bind, {slot(d, line ? Kind::line : Kind::message), note, d.below(3)}};
    case 3:
        return {Call::irq_ack, {slot(d, line ? Kind::line : Kind::message)}};
    case 4: {
        const u64 first = 0x8000 + d.below(16);
        return {Call::ports_create,
                {frame(d), slot(d, Kind::ports), own(d, root_selector::ports, Kind::ports), first,
                 first - 1 + d.below(16)}};
    }
    case 5: // sizes that are refused, ports beyond: what a port answers is no kernel's
        return {
            Call::port_in,
            {own(d, root_selector::ports, Kind::ports), 0x1e + d.below(4), d.one_in(2) ? 3u : 4u}};
    case 6:
        return {Call::mmio_create,
                {frame(d), slot(d, Kind::mmio), own(d, root_selector::mmio, Kind::mmio),
                 0xfd000 + d.below(8), d.below(9)}};
    default:
        return {Call::platform_control, {root_selector::platform, 2 + d.below(2), d.below(9)}};
    }
}

inline Step Steps::guest_step(Draw& d, u64 which) const {
    const u64 space = slot(d, Kind::guest_space);
    switch (which) {
    case 0:
        return {Call::vcpu_create,
                {frame(d), slot(d, Kind::vcpu), space, frame(d), frame(d), frame(d)}};
    case 1:
        return {Call::space_io_map, {space, frame(d)}};
    case 2:
        return {Call::space_msr_map, {space, frame(d)}};
    case 3:
        return {Call::guest_port,
                {space, own(d, root_selector::ports, Kind::ports),
                 d.one_in(4) ? 0x20 : 0x8000 + d.below(20), d.below(3)}};
    default:
        return {Call::guest_msr,
                {space, d.one_in(2) ? 0xc000'0081 + d.below(4) : d.below(0x200), d.below(5)}};
    }
}

inline Step Steps::at(u64 index) const {
    Draw d(seed_, index);
    Step step;
    switch (d.below(12)) {
    case 0:
    case 1:
    case 2:
        step = memory_step(d, d.below(9));
        break;
    case 3:
    case 4:
        step = capability_step(d, d.below(18));
        break;
    case 5:
    case 6:
    case 7:
        step = space_step(d, d.below(9));
        break;
    case 8:
    case 9:
        step = thread_step(d, d.below(15));
        break;
    case 10:
        step = device_step(d, d.below(8));
        break;
    default:
        step = guest_step(d, d.below(5));
        break;
    }
    return step;
}

// After the last step: everything that can be asked about what was used.
inline constexpr u64 question_count = pool_frames + slot_count + 2 * 7;
inline Step question(const Memory& memory, u64 i) {
    if (i < pool_frames)
        return {Call::frame_info, {u64{memory.pool_block} * frames_per_block + i}};
    i -= pool_frames;
    if (i < slot_count)
        return {Call::cap_info, {first_slot + i}};
    i -= slot_count;
    return {Call::thread_info, {first_slot + 2 * static_cast<u32>(Kind::thread) + i / 7, i % 7}};
}

// Frames mean something within the pool only, and processor time is no number to compare.
inline void make_comparable(const Memory& memory, const Step& step, u64 (&values)[6]) {
    if (step.call == Call::cap_info) {
        const u64 first = u64{memory.pool_block} * frames_per_block;
        const bool is_block = values[0] == static_cast<u64>(ObjectType::block);
        const bool in_pool = !is_block && values[3] - first < pool_frames;
        values[3] = in_pool ? values[3] - first : 0xffff;
    }
    if (step.call == Call::thread_info && step.arguments[1] == 2)
        values[0] = 0;
    if (step.call == Call::thread_info && step.arguments[1] == 1)
        values[2] &= ~u64{1 << 16}; // RFLAGS.RF, which QEMU's emulation does not set
}

} // namespace horos::replay
