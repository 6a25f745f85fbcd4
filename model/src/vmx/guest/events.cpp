// Exceptions, and delivery through the IDT.
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

constexpr uint8_t DOUBLE_FAULT = 8, PAGE_FAULT = 14, VIRTUALIZATION = 20;

bool contributory(uint8_t vector) { return vector == 0 || (vector >= 10 && vector <= 13); }
bool page_class(uint8_t vector) { return vector == PAGE_FAULT || vector == VIRTUALIZATION; }
// Vol. 3A table 6-5.
bool makes_double_fault(uint8_t first, uint8_t second) {
    return (contributory(first) && contributory(second)) ||
           (page_class(first) && (page_class(second) || contributory(second)));
}
bool external(const Event& e) { // the EXT bit of an error code (vol. 3A §6.13)
    return e.type == InterruptionType::EXTERNAL || e.type == InterruptionType::NMI ||
           e.type == InterruptionType::HARDWARE_EXCEPTION ||
           e.type == InterruptionType::PRIVILEGED_SOFTWARE_EXCEPTION;
}
bool software(const Event& e) {
    return e.type == InterruptionType::SOFTWARE_INTERRUPT ||
           e.type == InterruptionType::SOFTWARE_EXCEPTION;
}

// §25.2: a page fault's error code is masked and compared; the bitmap's bit says for which result.
bool intercepted(const Guest& g, const Exception& e) {
    const bool bit = (g.s[F::EXCEPTION_BITMAP] >> e.vector & 1) != 0;
    if (e.vector != PAGE_FAULT) {
        return bit;
    }
    const bool match =
        (e.error.value_or(0) & g.s[F::PF_ERROR_CODE_MASK]) == g.s[F::PF_ERROR_CODE_MATCH];
    return match == bit;
}

std::string name_of(uint8_t vector) { return "vector " + std::to_string(vector); }

void end_shadow(Guest& g) {
    constexpr uint32_t SHADOW =
        interruptibility::BLOCKING_BY_STI | interruptibility::BLOCKING_BY_MOV_SS;
    if ((g.interruptibility & SHADOW) != 0 && g.deviates(Deviation::EXCEPTION_ENDS_SHADOW)) {
        g.interruptibility &= ~SHADOW;
    }
}

[[noreturn]] void exit_exception(Guest& g, const Exception& e) {
    Exit exit(ExitReason::EXCEPTION_OR_NMI);
    exit.interruption = make_interruption(e.type, e.vector);
    // §27.2.2: no error code from real-address mode.
    if (e.error && (g.protected_mode() || g.deviates(Deviation::REAL_MODE_ERROR_CODE))) {
        exit.interruption |= interruption::ERROR_CODE_VALID;
        // What the code is there is not defined; only that there should be none.
        exit.error_code = g.protected_mode() && e.error_known ? e.error : std::nullopt;
    }
    exit.qualification = {e.qualification, e.qualification_known};
    if (has_length(e.type)) {
        exit.length = e.length;
    }
    end_shadow(g);
    g.path.push_back(name_of(e.vector) + ": exit");
    throw exit;
}

} // namespace

void Guest::raise(const Exception& thrown) {
    Exception e = thrown;
    for (;;) {
        // The bitmap is looked at before a double fault is made of two (§27.2.4: "a fault occurs
        // during event delivery and causes a VM exit").
        if (intercepted(*this, e)) {
            exit_exception(*this, e);
        }
        const bool first_is_exception =
            delivering && delivering->type == InterruptionType::HARDWARE_EXCEPTION;
        if (first_is_exception && delivering->vector == DOUBLE_FAULT &&
            (contributory(e.vector) || page_class(e.vector))) {
            delivering.reset();
            path.push_back("triple fault");
            throw Exit(ExitReason::TRIPLE_FAULT);
        }
        if (first_is_exception && makes_double_fault(delivering->vector, e.vector)) {
            e = Exception{DOUBLE_FAULT, 0u};
            delivering.reset(); // §27.2.4: the double fault is not "during" the first
            if (intercepted(*this, e)) {
                exit_exception(*this, e);
            }
        }
        if (!e.error_known) {
            throw Open{"the error code of a fault at an address that is not canonical"};
        }
        Event event;
        event.type = e.type;
        event.vector = e.vector;
        event.error = e.error;
        event.length = e.length;
        delivering = event;
        if (e.vector == DEBUG_VECTOR && e.type == InterruptionType::HARDWARE_EXCEPTION) {
            dr7 &= ~x86::dr7::GD; // vol. 3B §17.2.4; before an exit too (§27.1)
        }
        begin_delivery();
        try {
            deliver(event);
            delivering.reset();
            return;
        } catch (const Exception& next) {
            e = next;
        }
    }
}

// §27.1: an exit that the delivery of an event causes finds no blocking by STI or MOV SS. (After an
// entry that injects there is none either, §26.7.1.)
// The processor is active, too.
void Guest::begin_delivery() {
    interruptibility &= ~(interruptibility::BLOCKING_BY_STI | interruptibility::BLOCKING_BY_MOV_SS);
    const bool nmi_window = proc(proc::NMI_WINDOW_EXITING) &&
                            (interruptibility & interruptibility::BLOCKING_BY_NMI) == 0;
    if (activity != uint32_t(Activity::HLT) || nmi_window ||
        !deviates(Deviation::HLT_OUTLASTS_TRAP)) {
        activity = 0;
    }
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

// Through the guest's IDT. Far enough for the faults and exits of delivery itself, and for a
// handler of the same privilege level in 64-bit mode.
void Guest::deliver(const Event& event) {
    const uint32_t ext = external(event) ? 1 : 0;
    const uint32_t idt_error = event.vector * 8u + 2u + ext;
    path.push_back(name_of(event.vector) + ": delivered");
    const uint64_t limit = s[F::GUEST_IDTR_LIMIT];
    if (!protected_mode()) {
        if (event.vector * 4u + 3u > limit) {
            throw Exception{13, idt_error};
        }
        deliver_real(event);
        return;
    }
    if (v86()) {
        throw Open{"delivery from virtual-8086 mode"};
    }
    const unsigned size = ia32e() ? 16 : 8;
    if (event.vector * size + size - 1u > limit) {
        throw Exception{13, idt_error};
    }
    const uint64_t at = s[F::GUEST_IDTR_BASE] + event.vector * size;
    const uint64_t linear = ia32e() ? at : at & 0xffffffff;
    const uint64_t low = read_descriptor(linear);
    const uint64_t high = ia32e() ? read_descriptor(linear + 8) : 0;
    if (high >> 32 != 0) {
        throw Open{"reserved bits of a gate"};
    }
    const unsigned type = low >> 40 & 0x1f;
    const bool gate = type == 0xe || type == 0xf || (!ia32e() && (type >= 5 && type <= 7));
    if (!gate) {
        throw Exception{13, idt_error};
    }
    if (software(event) && (low >> 45 & 3) < cpl()) {
        throw Exception{13, event.vector * 8u + 2u};
    }
    if ((low >> 47 & 1) == 0) {
        throw Exception{11, idt_error};
    }
    if (!ia32e()) {
        if (type == 5) {
            throw Open{"a task gate"};
        }
        deliver_32(event, low);
        return;
    }
    deliver_long(event, low, high);
}

// One item onto the stack of the running privilege level, by the size that SS.B says.
void Guest::push_old_stack(uint64_t value, unsigned bytes, uint64_t known, uint32_t ext) {
    const uint64_t mask = (rights(Seg::SS) & rights::DB) != 0 ? 0xffffffff : 0xffff;
    const uint64_t at = (gpr[4] - bytes) & mask;
    uint64_t linear = 0;
    try {
        linear = linear_of(Seg::SS, at, bytes, Kind::WRITE);
    } catch (const Exception&) {
        throw Exception{12, ext};
    }
    write(linear, value, bytes, known, true);
    gpr[4] = (gpr[4] & ~mask) | at;
}

// Vol. 3A §20.1.4; in the order of vol. 2A, INT n: the stack, then the vector.
void Guest::deliver_real(const Event& event) {
    uint32_t vector = 0;
    const uint64_t back = has_length(event.type) ? rip + event.length : rip;
    const uint64_t stack = gpr[4];
    try {
        push_old_stack(rflags, 2, ~0ull, 0);
        push_old_stack(s[F::GUEST_CS_SELECTOR], 2, ~0ull, 0);
        push_old_stack(back, 2, ~0ull, 0);
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

// Through a 32-bit or 16-bit interrupt or trap gate, to a handler of the same privilege level
// (vol. 3A §6.12.1).
void Guest::deliver_32(const Event& event, uint64_t low) {
    const uint32_t ext = external(event) ? 1 : 0;
    const auto selector = uint16_t(low >> 16);
    const unsigned bytes = (low >> 40 & 8) != 0 ? 4 : 2;
    const uint64_t target = (low & 0xffff) | (bytes == 4 ? low >> 32 & 0xffff0000 : 0);
    const uint64_t d = handler_descriptor(selector, ext);
    const auto ar = uint32_t(d >> 40 & 0xff) | uint32_t(d >> 52 & 0xf) << 12;
    const unsigned dpl = ar >> rights::DPL_SHIFT & 3;
    if (dpl < cpl() && (ar & rights::CONFORMING) == 0) {
        throw Open{"a stack switch"};
    }
    const auto raw = uint32_t((d & 0xffff) | (d >> 32 & 0xf0000));
    const uint32_t new_limit = (ar & rights::G) != 0 ? raw << 12 | 0xfff : raw;
    const uint64_t back = has_length(event.type) ? rip + event.length : rip;
    const uint64_t stack = gpr[4];
    try {
        push_old_stack(rflags, bytes, ~x86::rflags::RF, ext);
        push_old_stack(s[F::GUEST_CS_SELECTOR], bytes, bytes == 4 ? 0xffff : ~0ull, ext);
        push_old_stack(back, bytes, ~0ull, ext);
        if (event.error) {
            push_old_stack(*event.error, bytes, ~0ull, ext);
        }
        if (target > new_limit) {
            throw Exception{13, ext};
        }
    } catch (...) {
        gpr[4] = stack;
        throw;
    }
    path.push_back("32-bit gate");
    rip = target;
    enter_handler(selector, d, (low >> 40 & 1) == 0);
}

// The code segment that a gate names, as far as it may be entered.
uint64_t Guest::handler_descriptor(uint16_t selector, uint32_t ext) {
    if ((selector & 0xfffc) == 0) {
        throw Exception{13, ext};
    }
    const uint32_t code_error = (selector & 0xfffcu) | ext;
    if ((selector & 4) != 0) {
        throw Open{"a handler in the LDT"};
    }
    if ((selector | 7u) > s[F::GUEST_GDTR_LIMIT]) {
        throw Exception{13, code_error};
    }
    const uint64_t at = s[F::GUEST_GDTR_BASE] + (selector & 0xfff8u);
    const uint64_t d = read_descriptor(ia32e() ? at : at & 0xffffffff);
    const auto ar = uint32_t(d >> 40 & 0xff) | uint32_t(d >> 52 & 0xf) << 12;
    const bool code = (ar & (rights::S | rights::CODE)) == (rights::S | rights::CODE);
    if (!code || (ar >> rights::DPL_SHIFT & 3) > cpl()) {
        throw Exception{13, code_error};
    }
    if ((ar & rights::P) == 0) {
        throw Exception{11, code_error};
    }
    if (ia32e() && ((ar & rights::L) == 0 || (ar & rights::DB) != 0)) {
        throw Exception{13, code_error};
    }
    if ((ar & rights::ACCESSED) == 0) {
        throw Open{"the accessed bit of a descriptor"};
    }
    return d;
}

void Guest::enter_handler(uint16_t selector, uint64_t d, bool interrupt_gate) {
    const auto ar = uint32_t(d >> 40 & 0xff) | uint32_t(d >> 52 & 0xf) << 12;
    const auto raw = uint32_t((d & 0xffff) | (d >> 32 & 0xf0000));
    s[F::GUEST_CS_SELECTOR] = (selector & 0xfffcu) | cpl();
    s[F::GUEST_CS_RIGHTS] = ar;
    s[F::GUEST_CS_BASE] = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
    s[F::GUEST_CS_LIMIT] = (ar & rights::G) != 0 ? raw << 12 | 0xfff : raw;
    rflags &= ~(x86::rflags::TF | x86::rflags::NT | x86::rflags::RF | x86::rflags::VM |
                (interrupt_gate ? x86::rflags::IF : 0));
}

void Guest::deliver_long(const Event& event, uint64_t low, uint64_t high) {
    const uint32_t ext = external(event) ? 1 : 0;
    if ((low >> 32 & 7) != 0) {
        throw Open{"an interrupt-stack-table entry"};
    }
    const auto selector = uint16_t(low >> 16);
    const uint64_t d = handler_descriptor(selector, ext);
    const auto ar = uint32_t(d >> 40 & 0xff) | uint32_t(d >> 52 & 0xf) << 12;
    const unsigned dpl = ar >> rights::DPL_SHIFT & 3;
    if ((dpl < cpl() && (ar & rights::CONFORMING) == 0) || !code64()) {
        throw Open{"a stack switch"};
    }
    uint64_t rsp = gpr[4] & ~0xfull;
    const uint64_t target = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
    const uint64_t back = has_length(event.type) ? rip + event.length : rip;
    const uint64_t frame[] = {s[F::GUEST_SS_SELECTOR], gpr[4], rflags,
                              s[F::GUEST_CS_SELECTOR], back,   event.error.value_or(0)};
    const unsigned words = event.error ? 6 : 5;
    for (unsigned n = 0; n < words; ++n) {
        rsp -= 8;
        if (!canonical(rsp)) {
            throw Exception{12, ext};
        }
        // RF in the image is 1 for faults; which they are is not looked at.
        write(rsp, frame[n], 8, n == 2 ? ~x86::rflags::RF : ~0ull, true);
    }
    if (!canonical(target)) {
        throw Exception{13, ext};
    }
    gpr[4] = rsp;
    rip = target;
    enter_handler(selector, d, (low >> 40 & 0xf) == 0xe);
}

} // namespace horos::model::vmx::guest
