#include "spec/page_entry.hpp"
#include "spec/state.hpp"
#include "step.hpp"

namespace horos::test {

u64 Draw::word() { // splitmix64
    u64 z = state_ += 0x9e37'79b9'7f4a'7c15;
    z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
    return z ^ z >> 31;
}

namespace {

constexpr u64 nothing = ~u64{0};
constexpr u32 slots_used = 112; // selectors that sequences use, so that they meet again

class Arguments {
public:
    Arguments(Draw& draw, Frame thread)
        : draw_(draw), domain_(threads[thread].domain),
          core_(sched_contexts[threads[thread].sc].core) {}

    Registers6 of(Call call);

private:
    Draw& draw_;
    Frame domain_;
    u32 core_;

    u64 junk();
    // One whose object suits, if there is one.
    template <class Suits>
    u64 selector(ObjectType type, u8 rights, Suits suits);
    u64 selector(ObjectType type, u8 rights) {
        return selector(type, rights, [](Frame) { return true; });
    }
    u64 endpoint(u8 rights);
    u64 any_selector();
    u64 memory_selector();
    u64 empty_slot(Frame domain);
    u64 empty_slot() { return empty_slot(domain_); }
    u64 frame(Error wanted, Error (*check)(Frame, Frame));
    u64 retypable() { return frame(Error::ok, spec::raw_memory_of); }
    u64 row(u32 count);
    u64 ram() { return frame(Error::ok, spec::memory_of); }
    u64 owned_object(Frame owner);
    u64 block();
    u64 rights() { return draw_.one_in(4) ? draw_.below(32) : right::all; }
    u64 map_rights();
    u64 address(Frame space, u32 level, Error wanted, bool present);
    Frame object(u64 selector);

    Registers6 of_memory(Call call);
    Registers6 of_capabilities(Call call);
    Registers6 of_spaces(Call call);
    Registers6 of_threads(Call call);
    Registers6 of_time(Call call);
    Registers6 of_messages(Call call);
    Registers6 of_devices(Call call);
    Registers6 of_vcpus(Call call);
    Registers6 reclaim();
};

u64 Arguments::junk() {
    switch (draw_.below(5)) {
    case 0:
        return draw_.word();
    case 1:
        return 0;
    case 2:
        return draw_.below(1024);
    case 3:
        return draw_.below(machine_frames + 100);
    default:
        return u64{1} << draw_.below(64);
    }
}

// The first fitting one from a random place on.
template <class Suits>
u64 Arguments::selector(ObjectType type, u8 needed, Suits suits) {
    const u32 from = draw_.below(slots_used);
    const bool choosy = !draw_.one_in(6);
    u64 second = nothing;
    for (u32 i = 0; i < slots_used; ++i) {
        const u32 candidate = (from + i) % slots_used;
        spec::Cap cap;
        if (spec::find(domain_, candidate, type, needed, cap) != Error::ok)
            continue;
        if (!choosy || suits(cap.object))
            return candidate;
        second = candidate;
    }
    return second != nothing ? second : any_selector();
}

// One of this core, often one at which a server waits; now and then without the right to use it.
u64 Arguments::endpoint(u8 needed) {
    const bool served = needed == right::write && !draw_.one_in(3);
    return selector(ObjectType::endpoint, draw_.one_in(6) ? 0 : needed, [this, served](Frame e) {
        return (endpoints[e].bound == 0 || endpoints[e].core == core_) &&
               (!served || endpoints[e].server != 0);
    });
}

u64 Arguments::any_selector() {
    const u32 from = draw_.below(slots_used);
    for (u32 i = 0; i < slots_used; ++i) {
        spec::Cap cap;
        if (spec::find(domain_, (from + i) % slots_used, cap) == Error::ok)
            return (from + i) % slots_used;
    }
    return from;
}

u64 Arguments::memory_selector() {
    const bool whole = draw_.one_in(2);
    return selector(whole ? ObjectType::block : ObjectType::ram, right::read);
}

u64 Arguments::empty_slot(Frame domain) {
    const u32 from = draw_.one_in(8) ? slots_per_table + draw_.below(16) : draw_.below(slots_used);
    for (u32 i = 0; i < slots_used; ++i) {
        if (spec::vacant(domain, from + i) == Error::ok)
            return from + i;
    }
    return from;
}

u64 Arguments::frame(Error wanted, Error (*check)(Frame, Frame)) {
    constexpr u32 first = 76, count = 260;
    const u32 from = draw_.below(count);
    for (u32 i = 0; i < count; ++i) {
        const Frame f = first + (from + i) % count;
        if (check(domain_, f) == wanted)
            return f;
    }
    for (Frame f = 512; f < 560; ++f) {
        if (check(domain_, f) == wanted)
            return f;
    }
    return first + from;
}

u64 Arguments::row(u32 count) {
    for (u32 tries = 0; tries < 16; ++tries) {
        const Frame f = static_cast<Frame>(retypable());
        bool all = true;
        for (u32 i = 0; i < count; ++i)
            all = all && spec::raw_memory_of(domain_, f + i) == Error::ok;
        if (all)
            return f;
    }
    return retypable();
}

// A frame of that owner which is an object, or ordinary memory as a last resort.
u64 Arguments::owned_object(Frame owner) {
    constexpr u32 first = 76, count = 260;
    const u32 from = draw_.below(count);
    for (u32 i = 0; i < count; ++i) {
        const Frame f = first + (from + i) % count;
        if (spec::owner_of(f) == owner && frames[f].references == 0 &&
            (frames[f].type != ObjectType::ram || draw_.one_in(16)))
            return f;
    }
    return first + from;
}

u64 Arguments::block() {
    return draw_.one_in(8) ? draw_.below(machine_blocks) : 1 + draw_.below(2);
}

u64 Arguments::map_rights() {
    constexpr u8 good[] = {1, 3, 5, 1, 3, 7};
    return good[draw_.below(6)];
}

Frame Arguments::object(u64 selected) {
    spec::Cap cap{};
    return selected < max_selector &&
                   spec::find(domain_, static_cast<u32>(selected), cap) == Error::ok
               ? cap.object
               : 0;
}

// An address whose table of `level` is there (or why not), with or without an entry.
u64 Arguments::address(Frame space, u32 level, Error wanted, bool present) {
    u64 a = 0;
    for (u32 tries = 0; tries < 24; ++tries) {
        a = u64{draw_.one_in(5)} << 39 | u64{draw_.one_in(4)} << 30 |
            u64{draw_.one_in(2) ? 0 : draw_.below(4)} << 21 | u64{draw_.below(8)} << 12;
        a &= ~(spec::bit(spec::covered_bits(level)) - 1);
        Frame table = 0;
        if (space == 0 || frames[space].type != ObjectType::space)
            return a;
        if (spec::walk(space, a, level, table) != wanted)
            continue;
        const u64 entry = page_tables[table].entries[spec::index_in(a, level)];
        if (spec::is_present(entry) == present)
            return a;
    }
    return a;
}

Registers6 Arguments::reclaim() {
    const u64 from = draw_.one_in(2) ? u64{1} : selector(ObjectType::domain, right::manage);
    const u64 f = owned_object(object(from));
    return {from, f, draw_.one_in(3) ? draw_.below(512 / entries_per_reclaim) : 0};
}

Registers6 Arguments::of_memory(Call call) {
    switch (call) {
    case Call::frame_info:
        return {draw_.one_in(4)   ? draw_.below(machine_frames)
                : draw_.one_in(2) ? ram()
                                  : owned_object(domain_)};
    case Call::frame_give: {
        const u64 count = draw_.one_in(2) ? 1 : 1 + draw_.below(frames_per_give);
        return {selector(ObjectType::domain, right::write), row(static_cast<u32>(count)), count};
    }
    case Call::block_give:
        return {selector(ObjectType::domain, right::write), block()};
    case Call::frame_reclaim:
        return reclaim();
    case Call::block_reclaim:
        return {selector(ObjectType::domain, right::manage), block()};
    case Call::frame_share:
        return {ram(), empty_slot(), rights()};
    case Call::block_share:
        return {block(), empty_slot(), rights()};
    default:
        return {block()};
    }
}

Registers6 Arguments::of_capabilities(Call call) {
    const u64 badge = draw_.one_in(4) ? 1 + draw_.below(255) : 0;
    switch (call) {
    case Call::cap_mint:
        return {any_selector(), empty_slot(), rights(), badge};
    case Call::cap_move:
        return {any_selector(), empty_slot()};
    case Call::cap_delete:
    case Call::cap_revoke: // what was made later more often than the scenario's own
        return {draw_.one_in(8) ? any_selector() : sel::last + draw_.below(70)};
    case Call::cap_give: {
        const u64 to = selector(ObjectType::domain, right::write);
        const Frame domain = object(to);
        const bool is_domain = spec::exists(domain) && frames[domain].type == ObjectType::domain;
        return {to, any_selector(), empty_slot(is_domain ? domain : domain_), rights(), badge};
    }
    case Call::cap_take:
        return {selector(ObjectType::domain, right::manage), sel::last + draw_.below(70)};
    case Call::domain_create:
        return {retypable(), retypable(), empty_slot()};
    case Call::domain_add_table:
        return {selector(ObjectType::domain, right::write), retypable(), 1 + draw_.below(3)};
    default:
        return {any_selector()};
    }
}

Registers6 Arguments::of_spaces(Call call) {
    const u64 s = selector(ObjectType::space, right::write);
    const Frame space = object(s);
    const u32 level = 1 + draw_.below(3);
    switch (call) {
    case Call::space_create:
        return {retypable(), retypable(), empty_slot(), draw_.below(2)};
    case Call::table_map:
        return {s, address(space, level + 1, Error::ok, false), level, retypable()};
    case Call::table_unmap:
        return {s, address(space, level + 1, Error::ok, true), level};
    case Call::map_frame:
        return {s, address(space, 1, Error::ok, false), ram(), map_rights()};
    case Call::map_block:
        return {s, address(space, 2, Error::ok, false), block(), map_rights()};
    case Call::map_shared: {
        const u64 memory = memory_selector();
        spec::Cap cap{};
        spec::find(domain_, static_cast<u32>(memory), cap);
        const u32 at = cap.type == ObjectType::block ? 2 : 1;
        return {s, address(space, at, Error::ok, false), memory, map_rights() & cap.rights};
    }
    case Call::map_mmio:
        return {s, address(space, 1, Error::ok, false), selector(ObjectType::mmio, 0),
                draw_.one_in(4) ? draw_.below(1 << 20) : draw_.below(16),
                draw_.one_in(2) ? u64{1} : u64{3}};
    default:
        return {s, address(space, 1 + level % 2, Error::ok, true), 1 + level % 2};
    }
}

Registers6 Arguments::of_threads(Call call) {
    const bool starts = call == Call::thread_start || call == Call::thread_resume;
    const u64 t = selector(ObjectType::thread, right::write, [=](Frame f) {
        const bool halted = threads[f].state == ThreadState::stopped ||
                            threads[f].state == ThreadState::faulted ||
                            threads[f].state == ThreadState::exited;
        return starts ? halted && threads[f].sc != 0 : !halted || call != Call::thread_stop;
    });
    switch (call) {
    case Call::thread_create:
        return {retypable(), empty_slot(), selector(ObjectType::domain, right::write),
                selector(ObjectType::space, right::write)};
    case Call::thread_start:
        return {t, 0x40'0000, 0x1000, draw_.word(), 0};
    case Call::thread_monitor:
        return {t, selector(ObjectType::notification, right::write), 1u << draw_.below(8)};
    case Call::thread_info:
        return {t, draw_.below(8)};
    case Call::thread_bind:
        return {t, selector(ObjectType::notification, right::read)};
    default:
        return {t};
    }
}

Registers6 Arguments::of_time(Call call) {
    const u64 core = selector(ObjectType::core, right::write);
    const u64 budgets[] = {0, 0, 5'000, 50'000, draw_.word()};
    switch (call) {
    case Call::sc_create:
        return {retypable(), empty_slot(), core, draw_.below(16), budgets[draw_.below(5)]};
    case Call::sc_bind:
        return {
            selector(ObjectType::sched_context, right::write,
                     [](Frame f) { return sched_contexts[f].thread == 0; }),
            selector(ObjectType::thread, right::write, [](Frame f) { return threads[f].sc == 0; })};
    case Call::core_window: {
        const u64 slots = draw_.one_in(3) ? draw_.below(0x1'0000) : 0xffff;
        return {core, draw_.below(3), 10'000 + draw_.below(50'000), slots};
    }
    default:
        return {core, draw_.one_in(2) ? 0 : draw_.below(4)};
    }
}

Registers6 Arguments::of_messages(Call call) {
    const u64 word = draw_.word();
    switch (call) {
    case Call::endpoint_create:
    case Call::notification_create:
        return {retypable(), empty_slot()};
    case Call::call:
        return {endpoint(right::write), word, 2, 3, 4};
    case Call::receive:
        return {endpoint(right::read)};
    case Call::reply:
        return {word, 2, 3, 4};
    case Call::reply_receive:
        return {endpoint(right::read), word, 2, 3, 4};
    case Call::signal:
        return {selector(ObjectType::notification, right::write), u64{1} << draw_.below(64)};
    default: { // wait
        const u64 deadlines[] = {draw_.one_in(3) ? no_deadline : shell.now + 500, 0,
                                 shell.now + draw_.below(3'000), shell.now + draw_.below(100'000)};
        return {selector(ObjectType::notification, right::read), deadlines[draw_.below(4)]};
    }
    }
}

Registers6 Arguments::of_devices(Call call) {
    const u64 core = selector(ObjectType::core, right::write);
    const u64 control = selector(ObjectType::irq_control, right::write);
    switch (call) {
    case Call::irq_create:
        return {retypable(), empty_slot(), control, core, draw_.below(8), draw_.below(4)};
    case Call::msi_create:
        return {retypable(), empty_slot(), control, core, draw_.below(8)};
    case Call::irq_bind:
        return {selector(ObjectType::interrupt, right::write,
                         [](Frame f) { return interrupts[f].notification == 0; }),
                selector(ObjectType::notification, right::write), 1u << draw_.below(8)};
    case Call::irq_ack:
        return {selector(ObjectType::interrupt, right::write,
                         [](Frame f) { return interrupts[f].masked != 0; })};
    case Call::ports_create: {
        const u64 first = 0x3f8 + draw_.below(8);
        return {retypable(), empty_slot(), selector(ObjectType::ports, right::write), first,
                first + draw_.below(3)};
    }
    case Call::port_in:
    case Call::port_out:
        return {selector(ObjectType::ports, right::read | right::write), 0x3f8 + draw_.below(9),
                u64{1} << draw_.below(3), draw_.below(1 << 20)};
    case Call::mmio_create:
        return {retypable(), empty_slot(), selector(ObjectType::mmio, right::write),
                0xfe000 + draw_.below(16), 1 + draw_.below(2)};
    case Call::platform_control:
        return {selector(ObjectType::platform, right::write), draw_.below(2), draw_.below(8)};
    default:
        return {selector(ObjectType::platform, right::write), 1 + draw_.below(32)};
    }
}

Registers6 Arguments::of_vcpus(Call call) {
    const u64 space = selector(ObjectType::space, right::write,
                               [](Frame f) { return spaces[f].kind == SpaceKind::guest; });
    switch (call) {
    case Call::vcpu_create:
        return {retypable(), empty_slot(), space, retypable(), retypable(), ram()};
    case Call::vcpu_run:
        return {selector(ObjectType::vcpu, right::write, [this](Frame f) {
            return vcpus[f].thread == 0 && (vcpus[f].core == no_core || vcpus[f].core == core_);
        })};
    case Call::space_io_map:
        return {space, row(3)};
    case Call::space_msr_map:
        return {space, row(2)};
    case Call::guest_port:
        return {space, selector(ObjectType::ports, right::read | right::write),
                0x3f8 + draw_.below(9), draw_.below(2)};
    default:
        return {space, 0xc000'0080 + 0x80 * draw_.below(2) + draw_.below(4), draw_.below(4)};
    }
}

Registers6 Arguments::of(Call call) {
    Registers6 a{};
    if (call <= Call::block_share)
        a = of_memory(call);
    else if (call <= Call::domain_add_table)
        a = of_capabilities(call);
    else if (call <= Call::unmap)
        a = of_spaces(call);
    else if (call == Call::thread_exit)
        a = {draw_.word()};
    else if (call <= Call::thread_bind)
        a = of_threads(call);
    else if (call <= Call::core_schedule)
        a = of_time(call);
    else if (call <= Call::wait)
        a = of_messages(call);
    else if (call >= Call::vcpu_create && call <= Call::guest_msr)
        a = of_vcpus(call);
    else
        a = of_devices(call);
    if (draw_.one_in(8))
        a[draw_.below(6)] = junk();
    return a;
}

} // namespace

Registers6 draw_arguments(Draw& draw, Call call, Frame thread) {
    return Arguments(draw, thread).of(call);
}

} // namespace horos::test
