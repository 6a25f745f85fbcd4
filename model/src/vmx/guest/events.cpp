// Exceptions: which exit, which become double faults, which are delivered.
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

} // namespace horos::model::vmx::guest
