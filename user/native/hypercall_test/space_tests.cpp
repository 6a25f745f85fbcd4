// Domains, spaces, page tables, mappings.
#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {
namespace {

constexpr u32 missing_frame = abi::max_frames - 1;
constexpr u8 read_only = abi::right::read;
constexpr u8 read_write = abi::right::read | abi::right::write;
constexpr u8 write_exec = read_write | abi::right::exec;
constexpr u64 base = u64{1} << 40; // an empty part of the fixture's spaces

u32 take(u32 count = 1) { return own_memory().take(count); }
u32 object_frame(u32 selector) { return static_cast<u32>(user::cap_info(selector).object); }

// What every call that makes an object must say about the frame it is offered.
template <class Create>
void test_offered_frame(std::string_view name, const Create& create) {
    const auto what = [&](const char* detail) {
        static rt::Text<64> text;
        text.clear();
        return text.format("{} {}", name, detail).view();
    };
    const u32 mapped = own_memory().page(scratch_address);
    expect(what("foreign frame"), create(foreign_frame(), fixture::scratch), Error::not_owner);
    expect(what("missing frame"), create(missing_frame, fixture::scratch), Error::bad_frame);
    expect(what("object's frame"), create(object_frame(fixture::endpoint), fixture::scratch),
           Error::wrong_frame_type);
    expect(what("mapped frame"), create(mapped, fixture::scratch), Error::frame_in_use);
    expect(what("whole block"), create(own_memory().whole_block(0) * 512, fixture::scratch),
           Error::block_whole);
    expect(what("taken slot"), create(take(), fixture::endpoint), Error::slot_taken);
    expect(what("slot without table"), create(take(), fixture::no_table), Error::no_table);
    (void)user::unmap(abi::start_selector::space, scratch_address, 1);
}

void test_offered_frames() {
    using namespace abi::start_selector;
    test_offered_frame("domain_create",
                       [](u32 f, u32 s) { return user::domain_create(f, take(), s).error; });
    test_offered_frame("domain_create table",
                       [](u32 f, u32 s) { return user::domain_create(take(), f, s).error; });
    test_offered_frame("space_create",
                       [](u32 f, u32 s) { return user::space_create(f, take(), s, 0).error; });
    test_offered_frame("space_create root",
                       [](u32 f, u32 s) { return user::space_create(take(), f, s, 1).error; });
    test_offered_frame("thread_create", [](u32 f, u32 s) {
        return user::thread_create(f, s, fixture::domain, fixture::space).error;
    });
    test_offered_frame("sc_create",
                       [](u32 f, u32 s) { return user::sc_create(f, s, my_core(), 11, 0).error; });
    test_offered_frame("endpoint_create",
                       [](u32 f, u32 s) { return user::endpoint_create(f, s).error; });
    test_offered_frame("notification_create",
                       [](u32 f, u32 s) { return user::notification_create(f, s).error; });
    test_offered_frame("irq_create", [](u32 f, u32 s) {
        return user::irq_create(f, s, irq_control, my_core(), 10, 0).error;
    });
    test_offered_frame("msi_create", [](u32 f, u32 s) {
        return user::msi_create(f, s, irq_control, my_core(), 3).error;
    });
    test_offered_frame("ports_create", [](u32 f, u32 s) {
        return user::ports_create(f, s, all_ports, 1, 2).error;
    });
    test_offered_frame("mmio_create", [](u32 f, u32 s) {
        return user::mmio_create(f, s, all_mmio, 0xfed00, 1).error;
    });
    test_offered_frame("vcpu_create", [](u32 f, u32 s) {
        return user::vcpu_create(f, s, fixture::guest_space, take(), take(), take()).error;
    });
}

void test_page_tables() {
    const u32 frame = take();
    expect("table_map level 0", user::table_map(fixture::space, base, 0, frame), Error::bad_level);
    expect("table_map level 4", user::table_map(fixture::space, base, 4, frame), Error::bad_level);
    expect("table_map unaligned", user::table_map(fixture::space, base + 0x1000, 3, frame),
           Error::bad_address);
    expect("table_map kernel half",
           user::table_map(fixture::space, 0xffff'8000'0000'0000, 3, frame), Error::bad_address);
    expect("table_map beyond guest",
           user::table_map(fixture::guest_space, abi::guest_end, 3, frame), Error::bad_address);
    expect("table_map no parent", user::table_map(fixture::space, base, 2, frame),
           Error::table_missing);
    expect("table_map foreign", user::table_map(fixture::space, base, 3, foreign_frame()),
           Error::not_owner);
    expect("table_map missing", user::table_map(fixture::space, base, 3, missing_frame),
           Error::bad_frame);
    expect("table_map object",
           user::table_map(fixture::space, base, 3, object_frame(fixture::endpoint)),
           Error::wrong_frame_type);
    expect("table_map whole",
           user::table_map(fixture::space, base, 3, own_memory().whole_block(0) * 512),
           Error::block_whole);
    expect("table_map 3", user::table_map(fixture::space, base, 3, frame));
    expect("table_map again", user::table_map(fixture::space, base, 3, take()),
           Error::already_mapped);
    expect("table_map in use", user::table_map(fixture::space, base, 2, frame),
           Error::wrong_frame_type);
    expect("table_map 2", user::table_map(fixture::space, base, 2, take()));
    expect("table_map 1", user::table_map(fixture::space, base, 1, take()));
    expect("table_unmap in use", user::table_unmap(fixture::space, base, 3), Error::table_in_use);
    expect("table_unmap level", user::table_unmap(fixture::space, base, 4), Error::bad_level);
    expect("table_unmap unaligned", user::table_unmap(fixture::space, base + 1, 1),
           Error::bad_address);
    expect("table_unmap not there", user::table_unmap(fixture::space, base + 0x20'0000, 1),
           Error::not_mapped);
    expect("table_unmap nothing above", user::table_unmap(fixture::space, base + (u64{1} << 39), 1),
           Error::table_missing);
    expect("table_unmap", user::table_unmap(fixture::space, base, 1));
    expect("table_unmap again", user::table_unmap(fixture::space, base, 1), Error::not_mapped);
    expect("table_map 1 again", user::table_map(fixture::space, base, 1, take()));
}

void test_frame_mappings() {
    const u32 frame = take();
    expect("map_frame unaligned", user::map_frame(fixture::space, base + 1, frame, read_only),
           Error::bad_address);
    expect("map_frame kernel half",
           user::map_frame(fixture::space, 0xffff'ffff'8000'0000, frame, read_only),
           Error::bad_address);
    expect("map_frame no rights", user::map_frame(fixture::space, base, frame, 0),
           Error::bad_rights);
    expect("map_frame manage", user::map_frame(fixture::space, base, frame, 9), Error::bad_rights);
    expect("map_frame write and exec", user::map_frame(fixture::space, base, frame, write_exec),
           Error::bad_rights);
    expect("map_frame foreign", user::map_frame(fixture::space, base, foreign_frame(), read_only),
           Error::not_owner);
    expect("map_frame missing", user::map_frame(fixture::space, base, missing_frame, read_only),
           Error::bad_frame);
    expect("map_frame object",
           user::map_frame(fixture::space, base, object_frame(fixture::endpoint), read_only),
           Error::wrong_frame_type);
    expect("map_frame whole",
           user::map_frame(fixture::space, base, own_memory().whole_block(0) * 512, read_only),
           Error::block_whole);
    expect("map_frame no table",
           user::map_frame(fixture::space, base + 0x20'0000, frame, read_only),
           Error::table_missing);
    expect("map_frame", user::map_frame(fixture::space, base, frame, read_write));
    expect("map_frame again", user::map_frame(fixture::space, base, frame, read_only),
           Error::already_mapped);
    expect_value("frame_info mapped", user::frame_info(frame).mappings, 1);
    expect("unmap level", user::unmap(fixture::space, base, 3), Error::bad_level);
    expect("unmap unaligned", user::unmap(fixture::space, base + 8, 1), Error::bad_address);
    expect("unmap wrong level", user::unmap(fixture::space, base, 2), Error::not_mapped);
    expect("unmap not there", user::unmap(fixture::space, base + 0x1000, 1), Error::not_mapped);
    expect("unmap no table", user::unmap(fixture::space, base + (u64{1} << 39), 1),
           Error::table_missing);
    expect("unmap", user::unmap(fixture::space, base, 1));
    expect_value("frame_info unmapped", user::frame_info(frame).mappings, 0);
}

void test_block_mappings() {
    const u64 address = base + 0x4000'0000;
    const u32 block = own_memory().whole_block(1);
    const u32 split = own_memory().whole_block(2); // test_blocks has split it
    expect("map_block no table", user::map_block(fixture::space, address, block, read_only),
           Error::table_missing);
    expect("table_map for a block", user::table_map(fixture::space, address, 2, take()));
    expect("map_block unaligned",
           user::map_block(fixture::space, address + 0x1000, block, read_only), Error::bad_address);
    expect("map_block rights", user::map_block(fixture::space, address, block, write_exec),
           Error::bad_rights);
    expect("map_block split", user::map_block(fixture::space, address, split, read_only),
           Error::block_split);
    expect("map_block foreign",
           user::map_block(fixture::space, address, foreign_frame() / 512, read_only),
           Error::not_owner);
    expect("map_block missing",
           user::map_block(fixture::space, address, abi::max_blocks - 1, read_only),
           Error::bad_frame);
    expect("map_block", user::map_block(fixture::space, address, block, read_write));
    expect("map_block again", user::map_block(fixture::space, address, block, read_write),
           Error::already_mapped);
    expect("block_split mapped", user::block_split(block), Error::frame_in_use);
    expect("block_give mapped", user::block_give(fixture::domain, block), Error::frame_in_use);
    expect("unmap block as frame", user::unmap(fixture::space, address, 1), Error::not_mapped);
    expect("unmap block", user::unmap(fixture::space, address, 2));
}

void test_shared_mappings() {
    expect("map_shared rights",
           user::map_shared(fixture::space, base, fixture::memory, abi::right::exec),
           Error::bad_rights);
    expect("map_shared unaligned",
           user::map_shared(fixture::space, base + 4, fixture::memory, read_only),
           Error::bad_address);
    expect("map_shared wrong type",
           user::map_shared(fixture::space, base, fixture::endpoint, read_only), Error::wrong_type);
    expect("map_shared empty", user::map_shared(fixture::space, base, fixture::empty, read_only),
           Error::no_capability);
    expect("map_shared", user::map_shared(fixture::space, base, fixture::memory, read_write));
    expect("map_shared again", user::map_shared(fixture::space, base, fixture::memory, read_only),
           Error::already_mapped);
    expect("unmap shared", user::unmap(fixture::space, base, 1));
    expect("map_mmio page", user::map_mmio(fixture::space, base, fixture::mmio, 4, read_only),
           Error::bad_argument);
    expect("map_mmio exec",
           user::map_mmio(fixture::space, base, fixture::mmio, 0, abi::right::exec),
           Error::bad_rights);
    expect("map_mmio unaligned",
           user::map_mmio(fixture::space, base + 16, fixture::mmio, 0, read_only),
           Error::bad_address);
    expect("map_mmio RAM",
           user::map_mmio(fixture::space, base, abi::start_selector::all_mmio, foreign_frame(),
                          read_only),
           Error::bad_argument);
    expect("map_mmio local APIC",
           user::map_mmio(fixture::space, base, abi::start_selector::all_mmio, 0xfee00, read_only),
           Error::bad_argument);
    expect("map_mmio", user::map_mmio(fixture::space, base, fixture::mmio, 0, read_only));
    expect("unmap mmio", user::unmap(fixture::space, base, 1));
}

} // namespace

void test_spaces() {
    expect("space_create kind", user::space_create(take(), take(), fixture::scratch, 2),
           Error::bad_argument);
    const u32 both = take();
    expect("space_create one frame", user::space_create(both, both, fixture::scratch, 0),
           Error::frame_in_use);
    expect("domain_create one frame", user::domain_create(both, both, fixture::scratch),
           Error::frame_in_use);
    expect("domain_add_table 0", user::domain_add_table(fixture::domain, take(), 0),
           Error::bad_argument);
    expect("domain_add_table 4", user::domain_add_table(fixture::domain, take(), 4),
           Error::bad_argument);
    expect("domain_add_table foreign", user::domain_add_table(fixture::domain, foreign_frame(), 3),
           Error::not_owner);
    expect("domain_add_table", user::domain_add_table(fixture::domain, take(), 3));
    expect("domain_add_table again", user::domain_add_table(fixture::domain, take(), 3),
           Error::slot_taken);
    expect("cap_give into it",
           user::cap_give(fixture::domain, fixture::notification, 1000, read_write, 0));
    test_offered_frames();
}

void test_mappings() {
    test_page_tables();
    test_frame_mappings();
    test_block_mappings();
    test_shared_mappings();
    expect("map_frame guest write and exec needs a table",
           user::map_frame(fixture::guest_space, 0x1000, take(), write_exec), Error::table_missing);
    expect_value(
        "guest mapping write and exec",
        static_cast<u64>(own_memory().map(0x1000, take(), write_exec, fixture::guest_space)), 0);
}

} // namespace horos::hypercall_test
