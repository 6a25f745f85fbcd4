#include "guest/sensitive.hpp"

#include <unordered_map>

namespace horos::model::svm::guest {

bool is_intercepted(const Cpu& cpu, Intercept i) {
    const uint32_t words[] = {cpu.control.intercept_misc1, cpu.control.intercept_misc2,
                              cpu.control.intercept_misc3};
    return i.word >= 3 && (words[i.word - 3] >> i.bit & 1) != 0;
}

void exit_instruction(Cpu&, ExitCode code, Masked info1, Masked info2) {
    Exit exit{code, info1, info2};
    exit.next_rip = true;
    throw exit;
}

uint64_t map_base(const Cpu& cpu, uint64_t base) {
    return (base & 0xfff) != 0 && cpu.deviates(Deviation::MAP_BASE_UNMASKED) ? base
                                                                             : base & ~0xfffull;
}

void no_checks(Cpu&, const Insn&) {}
void need_cpl0(Cpu& cpu, const Insn&) {
    if (cpu.cpl != 0) {
        gp0();
    }
}
bool umip_refuses(const Cpu& cpu) {
    return (cpu.cr4 & x86::cr4::UMIP) != 0 && cpu.cpl != 0 &&
           (cpu.cpl == 3 || cpu.deviates(Deviation::UMIP_CPL_1));
}
void skip_intercept(Cpu& cpu) { cpu.intercept_skipped = true; }
void advance(Cpu& cpu, const Insn& insn) { cpu.rip = insn.next_rip; }
void nothing(Cpu& cpu, const Insn& insn) { advance(cpu, insn); }

namespace {

struct Indexed {
    const SensitiveRow* row;
    unsigned number;
};

const std::unordered_map<int, Indexed>& by_mnemonic() {
    static const auto map = [] {
        std::unordered_map<int, Indexed> rows;
        for (const auto table : {system_rows(), control_rows(), io_rows(), msr_rows(), event_rows(),
                                 svm_rows(), descriptor_rows()}) {
            for (const SensitiveRow& row : table) {
                rows.emplace(row.mnemonic, Indexed{&row, static_cast<unsigned>(rows.size())});
            }
        }
        return rows;
    }();
    return map;
}

} // namespace

bool Cpu::execute_sensitive(const Insn& insn) {
    const auto found = by_mnemonic().find(insn.zydis.mnemonic);
    if (found == by_mnemonic().end()) {
        return false;
    }
    const SensitiveRow& rule = *found->second.row;
    row = found->second.number * 4;
    intercept_skipped = false;
    rule.before(*this, insn);
    if (!intercept_skipped && is_intercepted(*this, rule.intercept)) {
        Exit exit{rule.code};
        exit.next_rip = true;
        if (rule.info != nullptr) {
            rule.info(*this, insn, exit);
        }
        left = exit; // not thrown: this is how most guests end
        return true;
    }
    rule.execute(*this, insn);
    feature(*row + 2);
    return true;
}

} // namespace horos::model::svm::guest
