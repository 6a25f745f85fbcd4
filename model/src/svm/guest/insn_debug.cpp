// MOV to and from debug registers (APM vol. 2 rev. 3.42 §13.1.1, §15.8.1, table 15-7).
#include "guest/control.hpp"
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

namespace c4 = x86::cr4;

[[noreturn]] void general_detect(Cpu& cpu) {
    cpu.note_matches(0); // one at this instruction would have come first
    cpu.dr6 |= x86::dr6::BD;
    throw fault(x86::Vector::DB);
}
unsigned checked_dr(Cpu& cpu, unsigned n) {
    if (n > 7) {
        ud();
    }
    if (n == 4 || n == 5) {
        if ((cpu.cr4 & c4::DE) != 0) {
            ud();
        }
    }
    const bool detected = (cpu.dr7 & x86::dr7::GD) != 0;
    if (cpu.cpl != 0 && !(detected && cpu.deviates(Deviation::DR_ORDER))) {
        gp0();
    }
    if (detected) {
        general_detect(cpu);
    }
    return n;
}
// An alias (DR4, DR5) may check its own bit or the one of the register it names.
bool dr_intercepted(Cpu& cpu, unsigned n, bool write, unsigned& code) {
    const auto bit = [&](unsigned r) {
        return (cpu.control.intercept_dr &
                (write ? horos::svm::intercept_write(r) : horos::svm::intercept_read(r))) != 0;
    };
    code = n;
    if ((n == 4 || n == 5) && bit(n) != bit(n + 2)) {
        throw Open{"which intercept bit an alias of DR6 or DR7 checks"};
    }
    if ((n == 4 || n == 5) && bit(n)) {
        code = cpu.choices.flip() ? n + 2 : n;
    }
    return bit(n);
}
Masked dr_info(const Cpu& cpu, int gpr) {
    return cpu.has(x86::cpuid::SVM_EDX_DECODE_ASSISTS) ? Masked{static_cast<uint64_t>(gpr), ~0ull}
                                                       : Masked{0, 0};
}

uint64_t read_dr_value(const Cpu& cpu, unsigned n) {
    if (n < 4) {
        return cpu.dr[n];
    }
    return n == 4 || n == 6 ? cpu.dr6 : cpu.dr7;
}
uint64_t read_dr_known(const Cpu& cpu, unsigned n) {
    return n < 4              ? ~0ull
           : n == 4 || n == 6 ? 0xe00full & cpu.dr6_known
                              : 0xffff23ffull & cpu.dr7_known;
}

// Deviation::DR_CHECKS_LATE: only the CPL comes before the intercept, the rest after it.
bool dr_checks_differ(const Cpu& cpu, unsigned n, bool write, uint64_t value) {
    const bool absent = n > 7 || ((n == 4 || n == 5) && (cpu.cr4 & c4::DE) != 0);
    const bool general_detect = (cpu.dr7 & x86::dr7::GD) != 0;
    const bool high = write && n >= 4 && (value >> 32) != 0;
    return absent || general_detect || high;
}
void late_dr_checks(Cpu& cpu, unsigned n, bool write, uint64_t value) {
    if ((n == 4 || n == 5) && (cpu.cr4 & c4::DE) != 0) {
        ud();
    }
    if (write && n >= 4 && (value >> 32) != 0) {
        gp0();
    }
}

} // namespace

uint64_t moved_value(Cpu& cpu, ZydisRegister gpr) {
    const uint64_t value = cpu.reg_value(gpr);
    if (cpu.code64()) {
        return value;
    }
    const Masked whole =
        cpu.read_reg(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, gpr));
    return whole.value != value && cpu.deviates(Deviation::MOV_64) ? whole.value : value;
}

void move_dr(Cpu& cpu, const Insn& insn, bool write, unsigned n, ZydisRegister gpr) {
    const uint64_t value = write ? moved_value(cpu, gpr) : 0;
    const bool late =
        dr_checks_differ(cpu, n, write, value) && cpu.deviates(Deviation::DR_CHECKS_LATE);
    if (late) {
        need_cpl0(cpu, insn);
        if (n > 7) {
            ud();
        }
    } else {
        checked_dr(cpu, n);
        if (write && n >= 4 && (value >> 32) != 0 && !cpu.deviates(Deviation::DR_ORDER)) {
            gp0();
        }
    }
    unsigned code = n;
    if (dr_intercepted(cpu, n, write, code)) {
        exit_instruction(
            cpu, horos::svm::exit_code(write ? ExitCode::DR0_WRITE : ExitCode::DR0_READ, code),
            dr_info(cpu, ZydisRegisterGetId(gpr)));
    }
    if (late || cpu.machine.deviations.test(Deviation::DR_ORDER)) {
        late_dr_checks(cpu, n, write, value);
    }
    if (write && ((cpu.dr7 | (n == 5 || n == 7 ? value : 0)) & 0xff) != 0 &&
        cpu.deviates(Deviation::DR7_ARMED_AFTERWARDS)) {
        throw Open{"breakpoints armed against a state that VMRUN did not set up"};
    }
    if (!write) {
        cpu.write_reg(gpr, {read_dr_value(cpu, n), read_dr_known(cpu, n)});
    } else if (n < 4) {
        cpu.dr[n] = value;
    } else if (n == 4 || n == 6) {
        cpu.dr6 = value;
        cpu.dr6_known = ~0ull;
    } else {
        cpu.dr7 = value | x86::dr7::ONE;
        cpu.dr7_known = ~0ull;
    }
    advance(cpu, insn);
}

} // namespace horos::model::svm::guest
