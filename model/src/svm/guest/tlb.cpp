// Translations that the TLB may hold although the tables say something else by now (APM vol. 2
// rev. 3.42 §15.16): entries of the guest's ASID that nothing flushed. An access that such an entry
// permits uses it, or it was evicted meanwhile and the tables are walked; after a walk the entry is
// gone. Code and data have TLBs of their own.
#include "guest/cpu.hpp"
#include "horos/model/svm/predict.hpp"

#include <algorithm>

namespace horos::model::svm::guest {

namespace {

constexpr uint64_t OFFSET = 0xfff;

bool permits(const Cpu& cpu, const TlbEntry& entry, Access access, bool user) {
    const bool paged = (cpu.cr0 & x86::cr0::PG) != 0;
    if (access == Access::EXECUTE && !entry.executable) {
        return false;
    }
    const bool all_writable = paged && !user && (cpu.cr0 & x86::cr0::WP) == 0;
    if (access == Access::WRITE && !entry.writable && !all_writable) {
        return false;
    }
    if (!paged) {
        return true;
    }
    // SMEP and SMAP
    const uint64_t guard = access == Access::EXECUTE ? x86::cr4::SMEP : x86::cr4::SMAP;
    return user ? entry.user : !(entry.user && (cpu.cr4 & guard) != 0);
}

} // namespace

void Cpu::load_tlb() {
    using horos::svm::TlbControl;
    if (machine.tlb_is_fresh || machine.tlb == nullptr) {
        return;
    }
    const auto flush = static_cast<TlbControl>(control.tlb_control);
    const bool by_asid = has(x86::cpuid::SVM_EDX_FLUSH_BY_ASID);
    if (flush == TlbControl::FLUSH_ALL || (by_asid && flush == TlbControl::FLUSH_GUEST)) {
        return;
    }
    const bool only_global = by_asid && flush == TlbControl::FLUSH_GUEST_NONGLOBAL;
    for (const TlbEntry& entry : *machine.tlb) {
        if (entry.asid == control.guest_asid && (entry.global || !only_global)) {
            tlb.push_back({entry});
        }
    }
}

std::optional<uint64_t> Cpu::held_translation(uint64_t linear, Access access, bool user) {
    if (tlb.empty()) {
        return std::nullopt;
    }
    if ((cr4 & (x86::cr4::PCIDE | x86::cr4::PKE)) != 0) {
        throw Open{"stale translations with process-context identifiers or protection keys"};
    }
    const bool code = access == Access::EXECUTE;
    std::vector<const TlbEntry*> held;
    bool forbidden = false;
    for (const Held& h : tlb) {
        if (h.entry.linear == (linear & ~OFFSET) && (code ? h.code : h.data)) {
            const bool permitted = permits(*this, h.entry, access, user);
            forbidden = forbidden || !permitted;
            if (permitted && (access != Access::WRITE || h.entry.dirty)) {
                held.push_back(&h.entry);
            }
        }
    }
    if (forbidden && choices.flip()) {
        throw Open{"a fault by a stale translation that does not permit the access"};
    }
    if (const unsigned which = held.empty() ? 0 : choices.pick(unsigned(held.size()) + 1)) {
        return held[which - 1]->address | (linear & OFFSET);
    }
    for (Held& h : tlb) {
        if (h.entry.linear == (linear & ~OFFSET)) {
            (code ? h.code : h.data) = false;
        }
    }
    return std::nullopt;
}

void Cpu::drop_translations(bool global_too) {
    const bool all = global_too || (cr4 & x86::cr4::PGE) == 0;
    std::erase_if(tlb, [&](const Held& h) { return all || !h.entry.global; });
}

void Cpu::drop_translation(uint64_t linear) {
    std::erase_if(tlb, [&](const Held& h) { return h.entry.linear == (linear & ~OFFSET); });
}

namespace {

struct Reached {
    uint64_t address;
    bool wrote; // an accessed or dirty bit
};

// What the tables alone say: without the guards that a held translation is held against each time.
std::optional<Reached> reached(const Machine& machine, uint64_t page, Access access, bool user) {
    Choices choices;
    Prediction prediction;
    Cpu cpu(machine, choices, prediction);
    cpu.cr0 |= (cpu.cr0 & x86::cr0::PG) != 0 ? x86::cr0::WP : 0;
    cpu.cr4 &= ~(x86::cr4::SMEP | x86::cr4::SMAP | x86::cr4::PKE);
    try {
        const uint64_t address = cpu.translate(page, access, user, false);
        return Reached{address, !cpu.memory.writes().empty()};
    } catch (const Exception&) {
    } catch (const Exit&) {
    } catch (const Open&) {
    }
    return std::nullopt;
}

} // namespace
} // namespace horos::model::svm::guest

namespace horos::model::svm {

std::vector<TlbEntry> translations(const Machine& machine, std::span<const uint64_t> pages) {
    using guest::Access, guest::reached;
    std::vector<TlbEntry> entries;
    for (const uint64_t page : pages) {
        const auto read = reached(machine, page, Access::READ, false);
        if (!read) {
            continue;
        }
        const auto write = reached(machine, page, Access::WRITE, false);
        TlbEntry entry;
        entry.asid = machine.vmcb->control.guest_asid;
        entry.linear = page;
        entry.address = read->address;
        entry.writable = write.has_value();
        entry.user = reached(machine, page, Access::READ, true).has_value();
        entry.executable = reached(machine, page, Access::EXECUTE, false).has_value();
        entry.dirty = write.has_value() && !write->wrote;
        entry.global = (machine.vmcb->save.cr4 & x86::cr4::PGE) != 0; // it may be
        entries.push_back(entry);
    }
    return entries;
}

} // namespace horos::model::svm
