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
        throw Open{"delivery in real-address mode"};
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
        throw Open{type == 5 ? "a task gate" : "delivery in 32-bit protected mode"};
    }
    deliver_long(event, low, read_descriptor(linear + 8));
}

void Guest::deliver_long(const Event& event, uint64_t low, uint64_t high) {
    const uint32_t ext = external(event) ? 1 : 0;
    if ((low >> 32 & 7) != 0) {
        throw Open{"an interrupt-stack-table entry"};
    }
    const auto selector = uint16_t(low >> 16);
    if ((selector & 0xfffc) == 0) {
        throw Exception{13, ext};
    }
    const uint32_t code_error = (selector & 0xfffcu) | ext;
    if ((selector & 4) != 0 || (selector | 7u) > s[F::GUEST_GDTR_LIMIT]) {
        if ((selector & 4) != 0) {
            throw Open{"a handler in the LDT"};
        }
        throw Exception{13, code_error};
    }
    const uint64_t d = read_descriptor(s[F::GUEST_GDTR_BASE] + (selector & 0xfff8u));
    const auto ar = uint32_t(d >> 40 & 0xff) | uint32_t(d >> 52 & 0xf) << 12;
    const unsigned dpl = ar >> rights::DPL_SHIFT & 3;
    const bool code = (ar & (rights::S | rights::CODE)) == (rights::S | rights::CODE);
    if (!code || dpl > cpl()) {
        throw Exception{13, code_error};
    }
    if ((ar & rights::P) == 0) {
        throw Exception{11, code_error};
    }
    if ((ar & rights::L) == 0 || (ar & rights::DB) != 0) {
        throw Exception{13, code_error};
    }
    if ((dpl < cpl() && (ar & rights::CONFORMING) == 0) || !code64()) {
        throw Open{"a stack switch"};
    }
    if ((ar & rights::ACCESSED) == 0) {
        throw Open{"the accessed bit of a descriptor"};
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
    s[F::GUEST_CS_SELECTOR] = (selector & 0xfffcu) | cpl();
    s[F::GUEST_CS_RIGHTS] = ar;
    s[F::GUEST_CS_BASE] = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
    const auto raw = uint32_t((d & 0xffff) | (d >> 32 & 0xf0000));
    s[F::GUEST_CS_LIMIT] = (ar & rights::G) != 0 ? raw << 12 | 0xfff : raw;
    const bool interrupt_gate = (low >> 40 & 0xf) == 0xe;
    rflags &= ~(x86::rflags::TF | x86::rflags::NT | x86::rflags::RF | x86::rflags::VM |
                (interrupt_gate ? x86::rflags::IF : 0));
}

} // namespace horos::model::vmx::guest
