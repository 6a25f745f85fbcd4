// Through a 64-bit gate: to the same or an inner privilege level, or by the interrupt-stack table
// (vol. 3A §6.14).
#include "guest/machine.hpp"
#include "tables.hpp"

namespace horos::model::vmx::guest {

namespace {
using namespace horos::vmx;
} // namespace

uint64_t Guest::long_stack(unsigned ist, unsigned level, uint32_t ext) {
    const uint64_t offset = tss::long_stack_offset(ist, level);
    if (offset + 7 > limit(Seg::TR)) {
        throw Exception{10, uint32_t(s[F::GUEST_TR_SELECTOR] & 0xfffc) | ext};
    }
    path.push_back(ist != 0 ? "stack by IST" : "stack switch");
    const uint64_t stack = read_tss(offset, 8);
    if (!canonical(stack)) {
        const auto old = uint32_t(s[F::GUEST_SS_SELECTOR] & 0xfffc); // the new one is null
        const bool named = old != 0 && deviates(Deviation::TSS_STACK_NAMES_SS);
        throw Exception{12, ext | (named ? old : 0)};
    }
    return stack;
}

void Guest::deliver_long(const Event& event, const Gate& gate) {
    const uint32_t ext = ext_bit(event);
    const SegmentDescriptor d = handler_descriptor(gate.selector(), ext);
    const unsigned level = handler_level(d);
    const bool inner = level != cpl();
    if (!inner && gate.ist() == 0 && !code64() && gpr[4] >> 32 != 0) {
        throw Open{"an event in compatibility mode with RSP above 4 GiB"};
    }
    const uint64_t back = has_length(event.type) ? rip + event.length : rip;
    const uint64_t frame[] = {s[F::GUEST_SS_SELECTOR], gpr[4], rflags,
                              s[F::GUEST_CS_SELECTOR], back,   event.error.value_or(0)};
    const unsigned words = event.error ? 6 : 5;
    on_new_stack([&] {
        uint64_t rsp = inner || gate.ist() != 0 ? long_stack(gate.ist(), level, ext) : gpr[4];
        rsp &= ~0xfull;
        if (inner) {
            load_null(Seg::SS, level);
        }
        for (unsigned n = 0; n < words; ++n) {
            if (!canonical(rsp - 8 * (n + 1))) {
                throw Exception{12, ext};
            }
        }
        const bool nowhere = !canonical(gate.target());
        if (nowhere && !deviates(Deviation::LONG_TARGET_AFTER_PUSH)) {
            throw Exception{13, ext};
        }
        // Through a gate to a conforming segment CPL stays, and it is CPL that pushes.
        const bool as_system =
            cpl() == 3 && level == 3 && d.dpl() != 3 && deviates(Deviation::CONFORMING_PUSH_LEVEL);
        for (unsigned n = 0; n < words; ++n) {
            rsp -= 8;
            // RF in the image is 1 for faults; which they are is not looked at.
            const uint64_t known = n == 2 ? ~x86::rflags::RF : n == 1 ? defined_bits() : ~0ull;
            write(rsp, frame[n], 8, known, as_system);
        }
        if (nowhere) {
            throw Exception{13, ext};
        }
        gpr[4] = rsp;
    });
    rip = gate.target();
    enter_handler(gate.selector(), d, (gate.type() & 1) == 0);
}

} // namespace horos::model::vmx::guest
