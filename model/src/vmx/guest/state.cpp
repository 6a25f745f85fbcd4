// What an entry loads (§26.3.2) and an exit saves (§27.2, §27.3).
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

// Bits of CR0 that an entry does not load (§26.3.2.1), and ET, which is always 1.
constexpr uint64_t CR0_KEPT =
    x86::cr0::ET | x86::cr0::CD | x86::cr0::NW | 0x1ff8ffc0ull | 1ull << 17;
// DR7: bits 12, 14 and 15 are loaded as 0, bit 10 as 1 (§26.3.2.1).
constexpr uint64_t DR7_ZERO = 0xd000;

uint64_t width_mask(const FieldInfo& field) {
    return field.bits >= 64 ? ~0ull : (1ull << field.bits) - 1;
}

} // namespace

Guest::Guest(const GuestInput& in, Choices& c)
    : profile(*in.profile), s(*in.state), input(in), choices(c) {
    load();
    load_tlb();
}

void Guest::load() {
    gpr = input.gpr;
    gpr[4] = s[F::GUEST_RSP];
    gpr_known.fill(~0ull);
    rip = s[F::GUEST_RIP];
    rflags = s[F::GUEST_RFLAGS];
    cr0 = (s[F::GUEST_CR0] & ~CR0_KEPT) | (s[Extra::CR0] & CR0_KEPT) | x86::cr0::ET;
    cr0_known = 0xffffffff;
    cr3 = s[F::GUEST_CR3];
    cr4 = s[F::GUEST_CR4];
    dr7 = entry(entry_ctl::LOAD_DEBUG_CONTROLS) ? (s[F::GUEST_DR7] & ~DR7_ZERO) | x86::dr7::ONE
                                                : x86::dr7::RESET;
    constexpr uint64_t BIT_12 = 1u << 12;
    if (entry(entry_ctl::LOAD_DEBUG_CONTROLS) && (s[F::GUEST_DR7] & BIT_12) != 0 &&
        deviates(Deviation::DR7_BIT_12_KEPT)) {
        dr7 |= BIT_12;
    }
    constexpr uint64_t MODE = x86::efer::LMA | x86::efer::LME;
    efer = entry(entry_ctl::LOAD_EFER)
               ? s[F::GUEST_EFER]
               : (s[Extra::EFER] & ~MODE) | (ia32e() ? MODE : s[Extra::EFER] & x86::efer::LME);
    if (!entry(entry_ctl::LOAD_EFER) && !ia32e() && (cr0 & x86::cr0::PG) != 0) {
        efer &= ~x86::efer::LME; // §26.3.2.1: LME is loaded too where CR0.PG will be 1
    }
    sysenter_cs = s[F::GUEST_SYSENTER_CS];
    sysenter_esp = s[F::GUEST_SYSENTER_ESP];
    sysenter_eip = s[F::GUEST_SYSENTER_EIP];
    fs_base = s[F::GUEST_FS_BASE];
    gs_base = s[F::GUEST_GS_BASE];
    activity = uint32_t(s[F::GUEST_ACTIVITY]);
    interruptibility = uint32_t(s[F::GUEST_INTERRUPTIBILITY]);
    eptp = s[F::EPTP];
    pml_index = uint16_t(s[F::PML_INDEX]);
    rvi_ = uint8_t(s[F::GUEST_INTERRUPT_STATUS]);
    svi_ = uint8_t(s[F::GUEST_INTERRUPT_STATUS] >> 8);
}

bool Guest::canonical(uint64_t address) const {
    const unsigned bits = (cr4 & x86::cr4::LA57) != 0 ? 57 : 48;
    const uint64_t sign = ~((1ull << (bits - 1)) - 1);
    return (address & sign) == 0 || (address & sign) == sign;
}

void Guest::put_vectoring(GuestExit& out) {
    out[F::IDT_VECTORING_INFO] = {0, interruption::VALID};
    if (!delivering) {
        return;
    }
    uint32_t info = make_interruption(delivering->type, delivering->vector);
    if (delivering->error && (protected_mode() || deviates(Deviation::REAL_MODE_ERROR_CODE))) {
        info |= interruption::ERROR_CODE_VALID;
        out[F::IDT_VECTORING_ERROR_CODE] = {*delivering->error,
                                            protected_mode() ? 0xffffffffull : 0};
    }
    out[F::IDT_VECTORING_INFO] = {info, ~uint64_t{interruption::NMI_UNBLOCKING} & 0xffffffff};
    if (delivering->virtual_interrupt && deviates(Deviation::VIRTUAL_INTERRUPT_UNRECORDED)) {
        out[F::IDT_VECTORING_INFO] = {interruption::VALID, interruption::VALID};
    }
    if (delivering->length != 0) {
        out[F::EXIT_INSTRUCTION_LENGTH] = {delivering->length, 0xffffffff};
    }
}

void Guest::save_registers(GuestExit& out, const Exit& exit) {
    for (const FieldInfo& field : vmcs_fields()) {
        if (type(field.field) == FieldType::GUEST) {
            out[field.field] = {s[field.field] & width_mask(field), width_mask(field)};
        }
    }
    for (unsigned n = 0; n < SEGMENTS; ++n) {
        if (n != unsigned(Seg::CS)) { // L is reserved elsewhere (table 24-2)
            out[plus(F::GUEST_ES_RIGHTS, n)].known &= ~uint64_t{1u << 13};
        }
        if (unusable(static_cast<Seg>(n))) {           // §27.3.2: little of it is defined
            const bool is_ss = n == unsigned(Seg::SS); // its DPL is CPL
            uint32_t level = rights(Seg::SS) & rights::DPL;
            if (is_ss && ss_made_null && level != 0 && deviates(Deviation::NULL_SS_LEVEL_0)) {
                level = 0;
            }
            out[plus(F::GUEST_ES_RIGHTS, n)] = {rights::UNUSABLE | (is_ss ? level : 0),
                                                rights::UNUSABLE | (is_ss ? rights::DPL : 0)};
            out[plus(F::GUEST_ES_LIMIT, n)].known = 0;
            out[plus(F::GUEST_ES_BASE, n)].known = 0;
        }
    }
    if (!protected_mode() && deviates(Deviation::REAL_MODE_CS_TYPE)) {
        out[F::GUEST_CS_RIGHTS].value = (rights(Seg::CS) & ~uint32_t{0xf}) | 3;
    }
    out[F::GUEST_FS_BASE] = {fs_base, unusable(Seg::FS) ? 0 : ~0ull};
    out[F::GUEST_GS_BASE] = {gs_base, unusable(Seg::GS) ? 0 : ~0ull};
    out[F::GUEST_CR0] = {cr0, cr0_known};
    out[F::GUEST_CR3] = {cr3, ~0ull};
    out[F::GUEST_CR4] = {cr4, ~0ull};
    out[F::GUEST_RIP] = {rip, ~0ull};
    out[F::GUEST_RSP] = {gpr[4], gpr_known[4] & defined_bits()};
    out[F::GUEST_RFLAGS] = {rflags, exit.rf_known ? ~0ull : ~x86::rflags::RF};
    out[F::GUEST_SYSENTER_CS] = {sysenter_cs, 0xffffffff};
    out[F::GUEST_SYSENTER_ESP] = {sysenter_esp, ~0ull};
    out[F::GUEST_SYSENTER_EIP] = {sysenter_eip, ~0ull};
    out[F::GUEST_ACTIVITY] = {activity, 0xffffffff};
    out[F::GUEST_INTERRUPTIBILITY] = {interruptibility, 0xffffffff};
    out[F::PML_INDEX] = {pml_index, proc2(proc2::ENABLE_PML) ? 0xffffull : 0};
}

GuestExit Guest::save(const Exit& exit) {
    GuestExit out;
    out.reason = uint32_t(exit.reason);
    save_registers(out, exit);
    const bool debug =
        exit_control(exit_ctl::SAVE_DEBUG_CONTROLS) && entry(entry_ctl::LOAD_DEBUG_CONTROLS);
    out[F::GUEST_DR7] = {dr7, debug ? 0xffffffffull : 0};
    for (F field : {F::GUEST_DEBUGCTL, F::GUEST_PAT, F::GUEST_PENDING_DEBUG, F::PREEMPTION_TIMER,
                    F::GUEST_BNDCFGS, F::GUEST_RTIT_CTL, F::GUEST_LBR_CTL, F::GUEST_PKRS,
                    F::GUEST_PERF_GLOBAL_CTRL, F::GUEST_S_CET, F::GUEST_SSP, F::GUEST_ISST_ADDR,
                    F::GUEST_INTERRUPT_STATUS, F::GUEST_PDPTE0, F::GUEST_PDPTE1, F::GUEST_PDPTE2,
                    F::GUEST_PDPTE3, F::GUEST_SMBASE}) {
        out[field].known = 0;
    }
    // §27.3.1: saved where the control says so; where it was not loaded either, the field is the
    // processor's. Without the control the field stays.
    if (exit_control(exit_ctl::SAVE_EFER)) {
        out[F::GUEST_EFER] = {efer, entry(entry_ctl::LOAD_EFER) ? ~0ull : 0};
    }
    if (ept() && paging() && (cr4 & x86::cr4::PAE) != 0 && !ia32e()) { // §27.3.4
        for (unsigned n = 0; n < 4; ++n) {
            const F field = plus(F::GUEST_PDPTE0, n);
            out[field] = {s[field], ~0ull};
        }
    }
    out[F::EXIT_REASON] = {uint32_t(exit.reason), 0xffffffff};
    out[F::EXIT_QUALIFICATION] = exit.qualification;
    out[F::EXIT_INTERRUPTION_INFO] = {exit.interruption,
                                      (exit.interruption & interruption::VALID) != 0
                                          ? uint64_t{exit.interruption_known}
                                          : uint64_t{interruption::VALID}};
    if (exit.error_code) {
        out[F::EXIT_INTERRUPTION_ERROR_CODE] = {*exit.error_code, 0xffffffff};
    }
    if (exit.information) {
        out[F::EXIT_INSTRUCTION_INFO] = *exit.information;
    }
    if (exit.linear) {
        out[F::GUEST_LINEAR_ADDRESS] = {*exit.linear, ~0ull};
    }
    if (exit.physical) {
        out[F::GUEST_PHYSICAL_ADDRESS] = {*exit.physical, ~0ull};
    }
    if (exit.length) {
        out[F::EXIT_INSTRUCTION_LENGTH] = {*exit.length, 0xffffffff};
    }
    if (proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY)) { // §27.3.4
        out[F::GUEST_INTERRUPT_STATUS] = {uint64_t{svi_} << 8 | rvi_, 0xffff};
    }
    put_vectoring(out);
    // §26.6.. an entry that succeeds clears the valid bit of the interruption information.
    out[F::ENTRY_INTERRUPTION_INFO] = {0, interruption::VALID};
    for (unsigned n = 0; n < 16; ++n) {
        out.gpr[n] = {gpr[n], gpr_known[n] & defined_bits()};
    }
    out.writes = writes;
    out.instructions = instructions;
    out.path = path;
    out.deviated = deviated;
    return out;
}

GuestExit Guest::run(bool stuck, bool caches) {
    caches_ = caches;
    try {
        const bool blocks = (interruptibility & interruptibility::BLOCKING_BY_NMI) != 0;
        if (stuck && !blocks && pin(pin::VIRTUAL_NMIS) && deviates(Deviation::VIRTUAL_NMI_STICKS)) {
            interruptibility |= interruptibility::BLOCKING_BY_NMI;
        }
        after_entry();
        for (;;) {
            if (instructions >= input.max_instructions) {
                throw Open{"the guest runs on"};
            }
            try {
                step();
            } catch (const Exception& exception) {
                raise(exception);
                end_apic_access();
                between_instructions(); // before the handler's first one
            }
        }
    } catch (const Exit& exit) {
        return save(exit);
    } catch (const Open& open) {
        GuestExit out;
        out.open = true;
        out.why = open.why;
        out.deviated = deviated;
        out.path = path;
        return out;
    }
}

} // namespace horos::model::vmx::guest

namespace horos::model::vmx {

namespace {

constexpr size_t MAX_PATHS = 512;

// All ways that what may be cached allows.
void follow(const GuestInput& input, bool stuck, bool caches, std::vector<GuestExit>& outcomes) {
    Choices choices;
    size_t paths = 0;
    do {
        choices.restart();
        outcomes.push_back(guest::Guest(input, choices).run(stuck, caches));
        if (++paths == MAX_PATHS) {
            GuestExit more;
            more.open = true;
            more.why = "more allowed behaviours than are followed";
            outcomes.push_back(more);
            return;
        }
    } while (choices.advance());
}

} // namespace

std::vector<GuestExit> run_guest(const GuestInput& input) {
    std::vector<GuestExit> outcomes;
    follow(input, false, false, outcomes);
    if (input.deviations[static_cast<size_t>(Deviation::VIRTUAL_NMI_STICKS)]) {
        follow(input, true, false, outcomes);
    }
    const bool logs = ((*input.state)[Field::PROC_CONTROLS_2] & horos::vmx::proc2::ENABLE_PML) != 0;
    if (logs && input.deviations[static_cast<size_t>(Deviation::PML_INDEX_ALWAYS)]) {
        follow(input, false, true, outcomes);
        follow(input, true, true, outcomes);
    }
    return outcomes;
}

namespace {
constexpr std::string_view DEVIATIONS[] = {"virtual-nmi-sticks",
                                           "real-mode-cs-type",
                                           "real-mode-error-code",
                                           "descriptor-operand-size",
                                           "random-operand-size",
                                           "pending-breakpoint-lost",
                                           "int1-single-step",
                                           "hlt-misses-window",
                                           "pml-index-always",
                                           "shutdown-clears-if",
                                           "ept-table-write-only",
                                           "invpcid-exits-first",
                                           "exception-ends-shadow",
                                           "xsaves-order",
                                           "xsetbv-exits-first",
                                           "ept-table-update-unchecked",
                                           "pml-logs-offset",
                                           "hlt-outlasts-trap",
                                           "dr7-bit-12-kept",
                                           "exit-wakes",
                                           "register-displacement",
                                           "entry-ppr-after-event",
                                           "self-ipi-not-stored",
                                           "apic-write-within",
                                           "virtual-interrupt-unrecorded",
                                           "eptp-index-not-loaded",
                                           "hlt-misses-virtual-interrupt",
                                           "tss-stack-names-ss",
                                           "monitor-trap-ignored",
                                           "null-ss-level-0",
                                           "v86-stack-first",
                                           "long-target-after-push",
                                           "conforming-push-level"};
static_assert(std::size(DEVIATIONS) == static_cast<size_t>(Deviation::COUNT));
} // namespace

std::string_view deviation_name(Deviation deviation) {
    return DEVIATIONS[static_cast<size_t>(deviation)];
}
std::optional<Deviation> find_deviation(std::string_view name) {
    for (size_t n = 0; n < std::size(DEVIATIONS); ++n) {
        if (DEVIATIONS[n] == name) {
            return static_cast<Deviation>(n);
        }
    }
    return std::nullopt;
}

} // namespace horos::model::vmx
