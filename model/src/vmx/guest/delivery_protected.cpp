// Through 32-bit and 16-bit interrupt and trap gates, to the same or an inner privilege level and
// from virtual-8086 mode (vol. 3A §6.12.1, §20.3.1).
#include "guest/machine.hpp"
#include "tables.hpp"

namespace horos::model::vmx::guest {

namespace {
using namespace horos::vmx;
} // namespace

// Where one more item goes on the stack that SS and ESP name, by the size that SS.B says.
uint64_t Guest::next_item(uint64_t pointer, unsigned bytes) const {
    return (pointer - bytes) & ((rights(Seg::SS) & rights::DB) != 0 ? 0xffffffff : 0xffff);
}

void Guest::check_room(unsigned items, unsigned bytes, uint32_t error) {
    uint64_t pointer = gpr[4];
    for (unsigned n = 0; n < items; ++n) {
        pointer = next_item(pointer, bytes);
        try {
            (void)linear_of(Seg::SS, pointer, bytes, Kind::WRITE);
        } catch (const Exception&) {
            throw Exception{12, error};
        }
    }
}

void Guest::push(uint64_t value, unsigned bytes, uint64_t known) {
    const uint64_t mask = (rights(Seg::SS) & rights::DB) != 0 ? 0xffffffff : 0xffff;
    const uint64_t at = next_item(gpr[4], bytes);
    write(linear_of(Seg::SS, at, bytes, Kind::WRITE), value, bytes, known);
    gpr[4] = (gpr[4] & ~mask) | at;
}

// The two fields of the TSS that name the stack of an inner level.
Guest::InnerStack Guest::stack_fields(unsigned level, uint32_t ext) {
    const bool wide = (rights(Seg::TR) & 8) != 0;
    const uint64_t offset = tss::stack_offset(wide, level);
    const unsigned pointer_bytes = wide ? 4 : 2;
    const uint64_t last = offset + pointer_bytes + 1, last_before = offset + (wide ? 7 : 4);
    // Earlier editions of vol. 2A (INT n) want more than the two fields.
    const bool refused = last_before > limit(Seg::TR) && choices.flip();
    if (last > limit(Seg::TR) || refused) {
        throw Exception{10, uint32_t(s[F::GUEST_TR_SELECTOR] & 0xfffc) | ext};
    }
    InnerStack stack;
    stack.selector = uint16_t(read_tss(offset + pointer_bytes, 2));
    stack.pointer = read_tss(offset, pointer_bytes);
    return stack;
}

Guest::InnerStack Guest::inner_stack(unsigned level, uint32_t ext) {
    InnerStack stack = stack_fields(level, ext);
    if ((stack.selector & 0xfffc) == 0) {
        throw Exception{10, ext};
    }
    const uint32_t error = (stack.selector & 0xfffcu) | ext;
    stack.descriptor = gdt_descriptor(stack.selector, 10, error);
    const uint32_t ar = rights_in(stack.descriptor);
    const bool data =
        (ar & (rights::S | rights::CODE | rights::WRITABLE)) == (rights::S | rights::WRITABLE);
    if ((stack.selector & 3u) != level || stack.descriptor.dpl() != level || !data) {
        throw Exception{10, error};
    }
    if (!stack.descriptor.present()) {
        throw Exception{12, error};
    }
    if ((ar & rights::ACCESSED) == 0) {
        throw Open{"the accessed bit of a descriptor"};
    }
    return stack;
}

void Guest::deliver_32(const Event& event, const Gate& gate) {
    const uint32_t ext = ext_bit(event);
    const unsigned bytes = (gate.type() & 8) != 0 ? 4 : 2;
    const uint64_t target = gate.target() & (bytes == 4 ? 0xffffffff : 0xffff);
    const SegmentDescriptor d = handler_descriptor(gate.selector(), ext);
    const unsigned level = handler_level(d);
    const bool from_v86 = v86();
    const uint64_t back = has_length(event.type) ? rip + event.length : rip;
    const uint64_t selector_known = bytes == 4 ? 0xffff : ~0ull;
    const auto selector = [&](Seg r) { return s[plus(F::GUEST_ES_SELECTOR, unsigned(r))]; };
    const uint64_t old_ss = selector(Seg::SS), old_stack = gpr[4], old_flags = rflags;
    on_new_stack([&] {
        uint32_t error = ext;
        const bool inner = level != cpl();
        if (inner) {
            const InnerStack stack = inner_stack(level, ext);
            error |= stack.selector & 0xfffcu;
            rflags &= ~x86::rflags::VM;
            load_segment(Seg::SS, stack.selector, stack.descriptor);
            gpr[4] = stack.pointer;
        }
        check_room(3 + (inner ? 2 : 0) + (from_v86 ? 4 : 0) + (event.error ? 1 : 0), bytes, error);
        if (target > d.limit()) {
            throw Exception{13, ext};
        }
        if (inner) {
            if (from_v86) {
                for (const Seg r : {Seg::GS, Seg::FS, Seg::DS, Seg::ES}) {
                    push(selector(r), bytes, selector_known);
                }
            }
            push(old_ss, bytes, selector_known);
            push(old_stack, bytes, ~0ull);
            path.push_back(from_v86 ? "stack switch from virtual-8086 mode" : "stack switch");
        }
        push(old_flags, bytes, ~x86::rflags::RF);
        push(s[F::GUEST_CS_SELECTOR], bytes, selector_known);
        push(back, bytes, ~0ull);
        if (event.error) {
            push(*event.error, bytes, ~0ull);
        }
    });
    path.push_back("32-bit gate");
    for (const Seg r : {Seg::GS, Seg::FS, Seg::DS, Seg::ES}) {
        if (from_v86) {
            load_null(r, 0);
        }
    }
    rip = target;
    enter_handler(gate.selector(), d, (gate.type() & 1) == 0);
}

} // namespace horos::model::vmx::guest
