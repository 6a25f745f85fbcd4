// Isolation of two partitions that share nothing: whatever one does, everything of the other stays
// as it is (local respect), and every answer that the other gets is the same (nothing is observed).
// Outside of this statement: time (one core waits for the kernel lock of another), caches and
// everything else that is no state of the kernel. Every call is compared with spec/ besides.
#include "spec/isolation.hpp"
#include "step.hpp"
#include "support/check.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace horos::test {

namespace {

// The capabilities of each partition.
enum Slot : u32 { own_domain = 1, own_space, own_thread, own_guest, own_ports, own_mmio, own_note };
constexpr u32 channel = 8; // to the other's notification, if there is one

struct Partition {
    u32 core;
    Frame first_object; // made by the root task, which keeps out of it afterwards
    Frame first_frame;  // 80 frames that the partition owns
    Block block;
    Frame domain, thread, note;
};
constexpr u32 object_frames = 20, owned_frames = 80;

struct System {
    Simulation s;
    Partition parts[2] = {{0, 80, 120, 1, 0, 0, 0}, {1, 100, 200, 2, 0, 0, 0}};
    u64 successes = 0;

    explicit System(bool with_channel) {
        s.boot();
        for (Partition& p : parts)
            build(p);
        if (with_channel)
            must(Call::cap_give, {selector(parts[0], own_domain), selector(parts[1], own_note),
                                  channel, right::write, 4});
        for (const u32 i : {1u, 0u}) { // the last one runs in the root task's place
            const Partition& p = parts[i];
            must(Call::thread_start, {selector(p, own_thread), 0x40'0000, 0x1000, 0, 0});
            if (shell.cores[p.core].reschedule)
                s.reschedule(p.core);
        }
    }

    // Where the root task keeps a partition's capabilities.
    static u32 selector(const Partition& p, u32 slot) { return 100 + 20 * p.core + slot; }
    void must(Call call, const Registers6& a) {
        ASSERT_TRUE(s.call(0, call, a).ok()) << name_of(call);
    }
    void give(const Partition& p, u32 slot, u8 rights) {
        must(Call::cap_give, {selector(p, own_domain), selector(p, slot), slot, rights, 0});
    }

    void build(Partition& p) {
        Frame f = p.first_object;
        const auto at = [&](u32 slot) { return u64{selector(p, slot)}; };
        const u64 sc = 19;
        p.domain = f;
        must(Call::domain_create, {f, f + 1, at(own_domain)});
        for (Frame given = 0; given < owned_frames; given += frames_per_give)
            must(Call::frame_give, {at(own_domain), p.first_frame + given, frames_per_give});
        must(Call::block_give, {at(own_domain), p.block});
        must(Call::space_create, {f + 2, f + 3, at(own_space), 0});
        must(Call::space_create, {f + 4, f + 5, at(own_guest), 1});
        for (u64 level = 3; level > 0; --level) {
            must(Call::table_map, {at(own_space), 0, level, f + 5 + level});
            must(Call::table_map, {at(own_guest), 0, level, f + 8 + level});
        }
        p.thread = f + 12;
        must(Call::thread_create, {p.thread, at(own_thread), at(own_domain), at(own_space)});
        must(Call::sc_create, {f + 13, at(sc), root_selector::first_core + p.core, 3, 0});
        must(Call::sc_bind, {at(sc), at(own_thread)});
        const u64 first_port = 0x3f8 + 0x100 * p.core;
        must(Call::ports_create,
             {f + 14, at(own_ports), root_selector::ports, first_port, first_port + 7});
        must(Call::mmio_create,
             {f + 15, at(own_mmio), root_selector::mmio, 0xfe000 + 16 * p.core, 16});
        p.note = f + 16;
        must(Call::notification_create, {p.note, at(own_note)});
        for (const u32 slot : {own_domain, own_space, own_guest, own_ports, own_mmio, own_note})
            give(p, slot, right::all);
        give(p, own_thread, right::read | right::grant); // it does not stop itself
    }
};

// Everything of a partition: its objects, its memory, what is known about them, its core.
struct Things {
    std::vector<u8> bytes;
    std::vector<Frame> owner_of_page; // of each page in `bytes`, as far as they go

    explicit Things(const Partition& p) {
        for (Frame f = p.first_object; f < p.first_object + object_frames; ++f)
            add(f);
        for (Frame f = p.first_frame; f < p.first_frame + owned_frames; ++f)
            add(f);
        for (Frame f = p.block * frames_per_block; f < (p.block + 1) * frames_per_block; ++f)
            append(&frames[f], sizeof frames[f]);
        append(&blocks[p.block], sizeof blocks[0]);
        append(&cores[p.core], sizeof cores[0]);
        append(&shell.cores[p.core], sizeof shell.cores[0]);
    }
    // First frame whose state differs, ~0 for other differences, 0 for none.
    Frame difference(const Things& other) const {
        constexpr u64 step = frame_size + sizeof(FrameInfo);
        for (u64 i = 0; i < bytes.size(); ++i) {
            if (bytes[i] != other.bytes[i])
                return i / step < owner_of_page.size() ? owner_of_page[i / step] : ~Frame{0};
        }
        return 0;
    }

private:
    void append(const void* p, u64 size) {
        const auto* b = static_cast<const u8*>(p);
        bytes.insert(bytes.end(), b, b + size);
    }
    void add(Frame f) {
        append(&page_tables[f], frame_size);
        append(&frames[f], sizeof frames[f]);
        owner_of_page.push_back(f);
    }
};

// Calls that end or block the caller are left out: it is to go on. vcpu_run lets other steps in.
bool is_used(Call call) {
    return call != Call::thread_exit && call != Call::call && call != Call::receive &&
           call != Call::reply_receive && call != Call::wait && call != Call::vcpu_run &&
           call != Call::null;
}

// One random call of a partition, and what it answered.
std::string step(System& system, const Partition& p, u64 seed) {
    Draw d(seed);
    Call call = Call::null;
    while (!is_used(call))
        call = static_cast<Call>(d.below(call_count));
    const Registers6 a = draw_arguments(d, call, p.thread);
    const Outcome out = system.s.call(p.core, call, a);
    system.successes += out.ok();
    std::string text = name_of(call);
    for (const u64 word : a)
        text += " " + std::to_string(word);
    text += std::string(" = ") + (out.known ? name_of(out.error) : "blocks");
    for (u32 i = 0; i < 6 && out.ok(); ++i)
        text += " " + std::to_string(out.values.v[i]);
    return text;
}

// The first partition uses the channel.
std::string signal(System& system) {
    const Outcome out = system.s.call(system.parts[0].core, Call::signal, {channel});
    return out.ok() ? "signal" : "signal, refused";
}

// Whether the two have no channel, by the predicates of spec/isolation.hpp at every index.
bool are_separate(const System& system) {
    const Frame a = system.parts[0].domain;
    const Frame b = system.parts[1].domain;
    bool separate = true;
    for (u32 i = 0; i < max_selector; ++i) {
        separate = separate && spec::separate_from_machine(a, i) &&
                   spec::separate_from_machine(b, i) && spec::separate_from_domain(a, i, b) &&
                   spec::separate_from_domain(b, i, a);
        spec::Cap cap;
        for (u32 j = 0; spec::find(a, i, cap) == Error::ok && j < max_selector; ++j)
            separate = separate && spec::separate_slots(a, i, b, j);
    }
    return separate;
}

constexpr u32 steps = 150;
constexpr u32 systems = 12; // of each property: each takes a tenth of a second

std::vector<std::string> second_partition_sees(u64 first_seed, u64 second_seed, u64& successes) {
    System system(false);
    std::vector<std::string> seen;
    for (u32 i = 0; i < steps; ++i) {
        step(system, system.parts[0], first_seed + i);
        seen.push_back(step(system, system.parts[1], second_seed + i));
    }
    check_invariants();
    successes += system.successes;
    return seen;
}

} // namespace

TEST(RandomIsolation, NothingOfAnotherPartitionChanges) {
    u64 successes = 0;
    u32 runs = 0;
    EXPECT_TRUE(rc::check("local respect", [&] {
        if (++runs > systems)
            return;
        const u64 seed = *rc::gen::noShrink(rc::gen::resize(100, rc::gen::arbitrary<u64>()));
        System system(false);
        RC_ASSERT(are_separate(system));
        for (u32 i = 0; i < steps; ++i) {
            const u32 who = i % 2;
            const Things before(system.parts[1 - who]);
            const std::string text = step(system, system.parts[who], seed + i);
            const Frame changed = Things(system.parts[1 - who]).difference(before);
            if (changed != 0)
                RC_FAIL("partition " + std::to_string(who) + ": " + text + " changed frame " +
                        std::to_string(changed) + " of the other (4294967295: block or core)");
        }
        RC_ASSERT(are_separate(system)); // and neither can make a channel
        successes += system.successes;
    }));
    EXPECT_GT(successes, 300u);
}

// The channel is seen, and nothing else: the statement above can fail.
TEST(RandomIsolation, AChannelChangesWhatItNamesOnly) {
    u64 signals = 0;
    u32 runs = 0;
    EXPECT_TRUE(rc::check("one channel", [&] {
        if (++runs > systems)
            return;
        const u64 seed = *rc::gen::noShrink(rc::gen::resize(100, rc::gen::arbitrary<u64>()));
        System system(true);
        RC_ASSERT(!are_separate(system));
        for (u32 i = 0; i < steps; ++i) {
            const Things before(system.parts[1]);
            // The first call is a signal, so that the channel is used whatever the seed is.
            const std::string text =
                i == 0 ? signal(system) : step(system, system.parts[0], seed + i);
            const Frame changed = Things(system.parts[1]).difference(before);
            if (changed != 0 && changed != system.parts[1].note)
                RC_FAIL(text + " changed frame " + std::to_string(changed));
            signals += changed != 0;
            RC_ASSERT(i != 0 || changed == system.parts[1].note);
        }
    }));
    EXPECT_GE(signals, systems);
}

TEST(RandomIsolation, NothingOfAnotherPartitionIsSeen) {
    u64 successes = 0;
    u32 runs = 0;
    EXPECT_TRUE(rc::check("no observation", [&] {
        if (++runs > systems)
            return;
        const auto seed = rc::gen::noShrink(rc::gen::resize(100, rc::gen::arbitrary<u64>()));
        const u64 second = *seed;
        const auto one = second_partition_sees(*seed, second, successes);
        const auto two = second_partition_sees(*seed, second, successes);
        for (u32 i = 0; i < steps; ++i) {
            if (one[i] != two[i])
                RC_FAIL("call " + std::to_string(i) + " of the second partition: " + one[i] +
                        ", but when the first does other things: " + two[i]);
        }
    }));
    EXPECT_GT(successes, 300u);
}

} // namespace horos::test
