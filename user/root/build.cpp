// Building an instance: domain, address space, program, and the pages it shares with others.
#include "bundle_check.hpp"
#include "instance.hpp"

namespace horos::root {
namespace {

Outcome create_domain(Instance& instance) {
    u32 domain, table;
    return in_order([&] { return take(instance, domain); }, [&] { return take(instance, table); },
                    [&] {
                        return check(
                            "create the domain",
                            user::domain_create(domain, table, selector::domain(instance.index)));
                    });
}

Outcome create_space(Instance& instance, u32 slot, abi::SpaceKind kind) {
    u32 space, root;
    return in_order([&] { return take(instance, space); }, [&] { return take(instance, root); },
                    [&] {
                        return check("create a space",
                                     user::space_create(space, root, slot, static_cast<u8>(kind)));
                    });
}

Outcome map_common_pages(Instance& instance, SpaceEditor& space) {
    __builtin_memset(&instance.report(), 0, sizeof(abi::ReportPage));
    const u32 report = machine().report_frames[instance.index];
    const u32 console = machine().console_frames[instance.index];
    return in_order([&] { return space.map_frame(abi::report_page_address, report, read_write); },
                    [&] { return space.map_frame(abi::console_page_address, console, read_write); },
                    [&] {
                        return give(instance, selector::monitor_notification,
                                    abi::start_selector::report, abi::right::write,
                                    static_cast<u32>(monitor_bit::report(instance.index)));
                    });
}

Outcome copy_page(Instance& instance, SpaceEditor& space, u64 address, const u8* bytes, u64 size,
                  u8 rights) {
    u32 frame;
    return in_order([&] { return take(instance, frame); },
                    [&] { return Scratch::fill(frame, bytes, size); },
                    [&] { return space.map_frame(address, frame, rights); });
}

// Pages that nobody writes are mapped where they are in the bundle; the others are copied.
Outcome load_segment(Instance& instance, SpaceEditor& space, u32 entry,
                     const abi::ProgramSegment& segment) {
    const u8* bytes = entry_bytes(machine().bundle, entry) + segment.offset;
    const u32 first =
        machine().bundle_frame(entry) + static_cast<u32>(segment.offset >> abi::frame_bits);
    const bool written = (segment.rights & abi::segment_right::write) != 0;
    const u8 rights = static_cast<u8>(segment.rights); // the same bits
    for (u64 at = 0; at < segment.memory_size; at += abi::frame_size) {
        const u64 left = at < segment.file_size ? segment.file_size - at : 0;
        const u64 size = left < abi::frame_size ? left : abi::frame_size;
        const u64 address = segment.address + at;
        const u32 frame = first + static_cast<u32>(at >> abi::frame_bits);
        const Outcome outcome = written || size == 0
                                    ? copy_page(instance, space, address, bytes + at, size, rights)
                                    : space.map_frame(address, frame, rights);
        if (!outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

} // namespace

Machine& machine() {
    static constinit Machine the_machine;
    return the_machine;
}

u32 Machine::bundle_frame(u32 entry) const {
    return static_cast<u32>(boot->bundle_first_frame +
                            (bundle_header(bundle).entries[entry].offset >> abi::frame_bits));
}

Outcome take(Instance& instance, u32& frame, u32 count) {
    return instance.pool.take(frame, count) ? Outcome() : Outcome::failure("out of memory");
}

Outcome give(const Instance& instance, u32 source, u32 slot, u8 rights, u32 badge) {
    return check("give a capability",
                 user::cap_give(selector::domain(instance.index), source, slot, rights, badge));
}

Outcome hand_over(const Instance& instance, u32 slot, u8 rights, u32 badge) {
    return in_order([&] { return give(instance, selector::scratch, slot, rights, badge); },
                    [&] { return check("delete", user::cap_delete(selector::scratch)); });
}

Outcome load_program(Instance& instance, u32 entry, SpaceEditor& space) {
    const auto& header =
        *reinterpret_cast<const abi::ProgramHeader*>(entry_bytes(machine().bundle, entry));
    for (u32 i = 0; i < header.segment_count; ++i) {
        if (Outcome outcome = load_segment(instance, space, entry, header.segments[i]);
            !outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

Outcome build(Instance& instance) {
    const u32 index = instance.index;
    SpaceEditor space(selector::space(index), instance.pool);
    return in_order(
        [&] { return create_domain(instance); },
        [&] { return create_space(instance, selector::space(index), abi::SpaceKind::host); },
        [&] {
            return instance.is_guest()
                       ? create_space(instance, selector::guest_space(index), abi::SpaceKind::guest)
                       : Outcome();
        },
        [&] { return load_program(instance, instance.partition->program, space); },
        [&] { return map_common_pages(instance, space); },
        [&] { return build_threads(instance, space); },
        [&] { return instance.is_guest() ? build_guest(instance, space) : give_memory(instance); },
        [&] { return give_devices(instance, space); },
        [&] { return connect_channels(instance, space); },
        [&] { return connect_console(instance, space); },
        [&] { return fill_start_page(instance, space); });
}

Outcome start(Instance& instance) {
    const auto& header = *reinterpret_cast<const abi::ProgramHeader*>(
        entry_bytes(machine().bundle, instance.partition->program));
    return check("start the program",
                 user::thread_start(selector::thread(instance.index, 0), header.entry,
                                    abi::thread_stack_top(0), abi::start_page_address,
                                    abi::thread_fs_base(0)));
}

} // namespace horos::root
