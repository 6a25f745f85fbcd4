// Delivery of events through the IDT (vol. 3A §6.11 to §6.14, §20.1.4; in the order of vol. 2A,
// INT n): the gate, the handler's code segment, its stack, and real-address mode.
#include "guest/machine.hpp"
#include "tables.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

bool software(const Event& e) {
    return e.type == InterruptionType::SOFTWARE_INTERRUPT ||
           e.type == InterruptionType::SOFTWARE_EXCEPTION;
}

} // namespace

// The EXT bit of an error code (vol. 3A §6.13).
uint32_t ext_bit(const Event& e) {
    return e.type == InterruptionType::EXTERNAL || e.type == InterruptionType::NMI ||
           e.type == InterruptionType::HARDWARE_EXCEPTION ||
           e.type == InterruptionType::PRIVILEGED_SOFTWARE_EXCEPTION;
}

// From the IDT or GDT. Not canonical: #GP (vol. 1 §3.3.7.1); its error code is nowhere given.
uint64_t Guest::read_descriptor(uint64_t linear) {
    if (ia32e() && (!canonical(linear) || !canonical(linear + 7))) {
        Exception e{13, 0u};
        e.error_known = false;
        throw e;
    }
    return read(linear, 8, true);
}

void Guest::deliver(const Event& event) {
    const uint32_t idt_error = event.vector * 8u + 2u + ext_bit(event);
    path.push_back("vector " + std::to_string(event.vector) + ": delivered");
    const uint64_t idt_limit = s[F::GUEST_IDTR_LIMIT];
    if (!protected_mode()) {
        if (event.vector * 4u + 3u > idt_limit) {
            throw Exception{13, idt_error};
        }
        deliver_real(event);
        return;
    }
    const unsigned size = ia32e() ? 16 : 8;
    if (event.vector * size + size - 1u > idt_limit) {
        throw Exception{13, idt_error};
    }
    const uint64_t at = s[F::GUEST_IDTR_BASE] + event.vector * size;
    const uint64_t linear = ia32e() ? at : at & 0xffffffff;
    Gate gate{read_descriptor(linear)};
    gate.high = ia32e() ? read_descriptor(linear + 8) : 0;
    if (gate.high >> 32 != 0) {
        throw Open{"reserved bits of a gate"};
    }
    const unsigned type = gate.type();
    const bool legacy = !ia32e() && (type >= tss::TASK_GATE && type <= 7);
    if (type != 0xe && type != 0xf && !legacy) {
        throw Exception{13, idt_error};
    }
    if (software(event) && gate.dpl() < cpl()) {
        throw Exception{13, event.vector * 8u + 2u};
    }
    if (!gate.present()) {
        throw Exception{11, idt_error};
    }
    if (type == tss::TASK_GATE) {
        gate_to_task(gate.selector(), ext_bit(event), TaskSource::IDT_GATE, std::nullopt);
    }
    ia32e() ? deliver_long(event, gate) : deliver_32(event, gate);
}

// Vol. 3A §20.1.4; in the order of vol. 2A, INT n: the stack, then the vector.
void Guest::deliver_real(const Event& event) {
    uint32_t vector = 0;
    const uint64_t back = has_length(event.type) ? rip + event.length : rip;
    const uint64_t stack = gpr[4];
    try {
        check_room(3, 2, 0);
        push(rflags, 2, ~0ull);
        push(s[F::GUEST_CS_SELECTOR], 2, ~0ull);
        push(back, 2, ~0ull);
        vector = uint32_t(read((s[F::GUEST_IDTR_BASE] + event.vector * 4u) & 0xffffffff, 4, true));
    } catch (...) {
        gpr[4] = stack;
        throw;
    }
    if ((vector & 0xffff) > limit(Seg::CS)) {
        gpr[4] = stack;
        throw Exception{13, 0u};
    }
    path.push_back("real-mode vector");
    rip = vector & 0xffff;
    s[F::GUEST_CS_SELECTOR] = vector >> 16;
    s[F::GUEST_CS_BASE] = uint64_t{vector >> 16} << 4;
    rflags &= ~(x86::rflags::IF | x86::rflags::TF | x86::rflags::AC | x86::rflags::RF);
}

// The code segment that a gate names, as far as it may be entered.
SegmentDescriptor Guest::handler_descriptor(uint16_t selector, uint32_t ext) {
    if ((selector & 0xfffc) == 0) {
        throw Exception{13, ext};
    }
    const uint32_t error = (selector & 0xfffcu) | ext;
    const SegmentDescriptor d = gdt_descriptor(selector, 13, error);
    const uint32_t ar = rights_in(d);
    const bool code = (ar & (rights::S | rights::CODE)) == (rights::S | rights::CODE);
    if (!code || d.dpl() > cpl()) {
        throw Exception{13, error};
    }
    if (!d.present()) {
        throw Exception{11, error};
    }
    if (ia32e() && ((ar & rights::L) == 0 || (ar & rights::DB) != 0)) {
        throw Exception{13, error};
    }
    if (v86() && ((ar & rights::CONFORMING) != 0 || d.dpl() != 0)) {
        const bool inner = (ar & rights::CONFORMING) == 0 && d.dpl() < cpl();
        if (inner && deviates(Deviation::V86_STACK_FIRST)) {
            (void)stack_fields(d.dpl(), ext);
        }
        throw Exception{13, error};
    }
    if ((ar & rights::ACCESSED) == 0) {
        throw Open{"the accessed bit of a descriptor"};
    }
    return d;
}

// What the GDT holds for a selector; beyond its limit that faults.
SegmentDescriptor Guest::gdt_descriptor(uint16_t selector, uint8_t fault, uint32_t error) {
    if ((selector & 4) != 0) {
        throw Open{"a descriptor in the LDT"};
    }
    if ((selector | 7u) > s[F::GUEST_GDTR_LIMIT]) {
        throw Exception{fault, error};
    }
    const uint64_t at = s[F::GUEST_GDTR_BASE] + (selector & 0xfff8u);
    return {read_descriptor(ia32e() ? at : at & 0xffffffff)};
}

uint32_t rights_in(const SegmentDescriptor& d) {
    return uint32_t(d.low >> 40 & 0xff) | uint32_t(d.low >> 52 & 0xf) << 12;
}

void Guest::load_segment(Seg r, uint16_t selector, const SegmentDescriptor& d) {
    const auto n = unsigned(r);
    s[plus(F::GUEST_ES_SELECTOR, n)] = selector;
    s[plus(F::GUEST_ES_RIGHTS, n)] = rights_in(d);
    s[plus(F::GUEST_ES_BASE, n)] = d.base();
    s[plus(F::GUEST_ES_LIMIT, n)] = d.limit();
    ss_made_null = ss_made_null && r != Seg::SS;
}

// A null selector: the level stays in SS.DPL, which is CPL (§24.4.1).
void Guest::load_null(Seg r, unsigned level) {
    const auto n = unsigned(r);
    s[plus(F::GUEST_ES_SELECTOR, n)] = level;
    s[plus(F::GUEST_ES_RIGHTS, n)] = rights::UNUSABLE | level << rights::DPL_SHIFT;
    ss_made_null = ss_made_null || r == Seg::SS;
}

unsigned Guest::handler_level(const SegmentDescriptor& d) const {
    return (rights_in(d) & rights::CONFORMING) != 0 ? cpl() : d.dpl();
}

// Runs `body`, which may change to another stack; undone if it does not come to its end.
void Guest::on_new_stack(const std::function<void()>& body) {
    const auto field = [](F first) { return plus(first, unsigned(Seg::SS)); };
    constexpr F SS[] = {F::GUEST_ES_SELECTOR, F::GUEST_ES_RIGHTS, F::GUEST_ES_BASE,
                        F::GUEST_ES_LIMIT};
    uint64_t before[std::size(SS)];
    for (size_t n = 0; n < std::size(SS); ++n) {
        before[n] = s[field(SS[n])];
    }
    const uint64_t stack = gpr[4], flags = rflags;
    try {
        body();
    } catch (...) {
        for (size_t n = 0; n < std::size(SS); ++n) {
            s[field(SS[n])] = before[n];
        }
        gpr[4] = stack;
        rflags = flags;
        throw;
    }
}

void Guest::enter_handler(uint16_t selector, const SegmentDescriptor& d, bool interrupt_gate) {
    rflags &= ~(x86::rflags::TF | x86::rflags::NT | x86::rflags::RF | x86::rflags::VM |
                (interrupt_gate ? x86::rflags::IF : 0));
    load_segment(Seg::CS, uint16_t((selector & 0xfffcu) | cpl()), d);
}

// A word of the running task's segment, which TR holds.
uint64_t Guest::read_tss(uint64_t offset, unsigned bytes) {
    const uint64_t at = base(Seg::TR) + offset;
    if (ia32e() && (!canonical(at) || !canonical(at + bytes - 1))) {
        throw Open{"a TSS at an address that is not canonical"};
    }
    return read(ia32e() ? at : at & 0xffffffff, bytes, true);
}

} // namespace horos::model::vmx::guest
