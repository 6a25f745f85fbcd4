// Segmentation, paging and memory accesses of the guest.
#include "guest/cpu.hpp"

#include <fmt/core.h>

namespace horos::model::svm::guest {

namespace {

namespace nctl = horos::svm::nested_ctl;
namespace npf = horos::svm::npf;
constexpr uint64_t PAGE = 0x1000;

class SystemEntries final : public EntryResolver {
public:
    explicit SystemEntries(std::vector<uint64_t>& seen) : seen_(seen) {}
    uint64_t resolve(uint64_t entry) override {
        seen_.push_back(entry);
        return entry;
    }

private:
    std::vector<uint64_t>& seen_;
};

class GuestEntries final : public EntryResolver {
public:
    explicit GuestEntries(Cpu& cpu) : cpu_(cpu) {}
    uint64_t resolve(uint64_t entry) override {
        const uint64_t table = cpu_.cr3 & x86::cr3::ADDR_PAE_MASK;
        const bool pdpe = (entry & ~0x18ull) == table && entry != table && cpu_.nested_paging() &&
                          paging_mode(cpu_.cr0, cpu_.cr4, cpu_.efer) == PagingMode::PAE &&
                          cpu_.deviates(Deviation::PDPE_TABLE_ADDRESS);
        const uint64_t wanted = pdpe ? table : entry;
        const uint64_t at =
            cpu_.nested_translate(wanted, Access::WRITE, npf::TABLE) + (entry - wanted);
        cpu_.table_entries.push_back(at);
        return at;
    }

private:
    Cpu& cpu_;
};

} // namespace

bool Cpu::nested_paging() const {
    const bool other_bits = (control.nested_ctl & 0xff) > nctl::NP_ENABLE;
    return has(x86::cpuid::SVM_EDX_NP) && ((control.nested_ctl & nctl::NP_ENABLE) != 0 ||
                                           (other_bits && deviates(Deviation::NESTED_CTL_BYTE)));
}

bool Cpu::canonical(uint64_t address) const { return canonicalize(address) == address; }

uint64_t Cpu::canonicalize(uint64_t address) const {
    const unsigned shift = 64 - linear_bits();
    return static_cast<uint64_t>(static_cast<int64_t>(address << shift) >> shift);
}

// Guest-physical to system-physical (§15.25.5, §15.25.6).
uint64_t Cpu::nested_translate(uint64_t address, Access access, uint64_t stage) {
    if (!nested_paging()) {
        return address;
    }
    if (tables_written) {
        throw Open{"the guest changed page tables that it uses: stale translations are allowed"};
    }
    const HostState& host = machine.host;
    Tables tables;
    tables.mode = paging_mode(host.cr0, host.cr4, host.efer);
    tables.root = control.nested_cr3;
    tables.nxe = (host.efer & x86::efer::NXE) != 0;
    tables.large_4m = (host.cr4 & x86::cr4::PSE) != 0;
    tables.wp = true; // hCR0.WP is ignored: accesses are user accesses
    tables.page_1g = profile.page_1g;
    tables.physical_bits = profile.physical_bits;
    const unsigned reach = tables.mode == PagingMode::LONG5   ? 57
                           : tables.mode == PagingMode::LONG4 ? 48
                                                              : 32;
    const bool wraps = reach == 48 && (address >> reach) != 0 && deviates(Deviation::CR3_WIDE);
    const uint64_t walked = wraps ? address & ((1ull << reach) - 1) : address;
    if (reach < 52 && (walked >> reach) != 0) {
        throw Open{fmt::format("guest-physical {:#x} is beyond the nested tables' reach", address)};
    }
    const bool gmet =
        has(x86::cpuid::SVM_EDX_GMET) && (control.nested_ctl & nctl::GMET_ENABLE) != 0;
    Request request{walked, access, true};
    if (gmet && stage == npf::FINAL && access == Access::EXECUTE) {
        tables.execute_inverts_user = true;
        request.user = cpl == 3;
    }
    if (stage == npf::TABLE && has(x86::cpuid::SVM_EDX_ROGPT) &&
        (control.nested_ctl & nctl::ROGPT_ENABLE) != 0) {
        throw Open{"read-only guest page tables are not modelled"};
    }
    tables.on = &machine.deviations;
    tables.seen = &prediction.deviated;
    SystemEntries entries(table_entries);
    WalkResult found = walk(tables, request, entries, memory, choices);
    if (found.ok) {
        feature(512 + static_cast<unsigned>(access) * 2 + (stage == npf::FINAL));
        return found.address;
    }
    if ((found.error & x86::pf::RSV) != 0 && deviates(Deviation::RESERVED_WITHOUT_P)) {
        found.error &= ~x86::pf::P;
    }
    const uint64_t error = found.error | npf::US | stage | (access == Access::WRITE ? npf::RW : 0) |
                           (access == Access::EXECUTE ? npf::ID : 0);
    feature(520 + static_cast<unsigned>(error & 31) * 2 + (stage == npf::FINAL));
    Exit exit{ExitCode::NPF};
    // Bits 32 and up beyond the two stage bits depend on features; ID needs no-execute.
    exit.info1 = {error, ~(tables.nxe || gmet ? 0 : npf::ID) & ~npf::SS};
    exit.info2 = {address, ~0ull};
    exit.data_fault = access != Access::EXECUTE;
    throw exit;
}

// Linear to system-physical; throws #PF or the NPF exit.
uint64_t Cpu::translate(uint64_t linear, Access access, bool user, bool implicit) {
    Tables tables;
    tables.mode = paging_mode(cr0, cr4, efer);
    if (tables.mode == PagingMode::NONE) {
        // callers have masked it, or deviate
        if (const auto held = held_translation(linear, access, user)) {
            return *held;
        }
        return nested_translate(linear, access, npf::FINAL);
    }
    if (long_mode() && !canonical(linear)) { // CANONICAL_PER_PAGE
        gp0();
    }
    if (tables_written) {
        throw Open{"the guest changed page tables that it uses: stale translations are allowed"};
    }
    if (const auto held = held_translation(linear, access, user)) {
        return *held;
    }
    tables.root = cr3;
    tables.nxe = (efer & x86::efer::NXE) != 0;
    tables.large_4m = (cr4 & x86::cr4::PSE) != 0;
    tables.wp = (cr0 & x86::cr0::WP) != 0;
    tables.smep = (cr4 & x86::cr4::SMEP) != 0;
    tables.smap = (cr4 & x86::cr4::SMAP) != 0 && (implicit || (rflags & x86::rflags::AC) == 0);
    tables.pke = (cr4 & x86::cr4::PKE) != 0 && tables.mode >= PagingMode::LONG4;
    tables.pkru = machine.guest.pkru;
    tables.page_1g = profile.page_1g;
    tables.physical_bits = profile.physical_bits;
    const Request request{linear, access, user};
    tables.on = &machine.deviations;
    tables.seen = &prediction.deviated;
    GuestEntries entries(*this);
    WalkResult found = walk(tables, request, entries, memory, choices);
    if (found.ok) {
        return nested_translate(found.address, access, npf::FINAL);
    }
    if ((found.error & x86::pf::RSV) != 0 && deviates(Deviation::RESERVED_WITHOUT_P)) {
        found.error &= ~x86::pf::P;
    }
    Exception page_fault = fault(x86::Vector::PF, 0);
    const bool fetch_bit = (tables.nxe && tables.mode != PagingMode::LEGACY) || tables.smep;
    page_fault.error = static_cast<uint32_t>(
        found.error | (access == Access::WRITE ? x86::pf::RW : 0) | (user ? x86::pf::US : 0) |
        (access == Access::EXECUTE && fetch_bit ? x86::pf::ID : 0));
    // "Only defined if no-execute is enabled" (§8.4.2); with SMEP processors report it too.
    if (access == Access::EXECUTE && !(tables.nxe && tables.mode != PagingMode::LEGACY)) {
        page_fault.error_known = ~static_cast<uint32_t>(x86::pf::ID);
    }
    page_fault.address = linear;
    page_fault.instruction_fetch = access == Access::EXECUTE;
    feature(600 + (page_fault.error & 31));
    throw page_fault;
}

namespace {

[[noreturn]] void segment_fault(SegReg r) {
    throw fault(r == SegReg::SS ? x86::Vector::SS : x86::Vector::GP, 0);
}

// Whether the access is outside what the segment permits (§4.7.2, §4.8.1, §4.12).
bool legacy_refuses(const Segment& s, SegReg r, uint64_t offset, unsigned bytes, Access access,
                    bool is_real) {
    using namespace x86::seg;
    const uint64_t last = offset + bytes - 1;
    const bool code = (s.attributes & CODE) != 0;
    if (!is_real && r != SegReg::CS) {
        if ((s.attributes & P) == 0) {
            return true; // a null selector
        }
        if (access == Access::WRITE && (code || (s.attributes & WRITABLE) == 0)) {
            return true;
        }
        if (access == Access::READ && code && (s.attributes & READABLE) == 0) {
            return true;
        }
        if (!code && (s.attributes & EXPAND_DOWN) != 0) {
            const uint64_t top = (s.attributes & DB) != 0 ? 0xffffffffull : 0xffffull;
            if (offset <= s.limit || last > top) {
                return true;
            }
            return false;
        }
    }
    if (!is_real && r == SegReg::CS && access == Access::WRITE) {
        return true;
    }
    if (!is_real && r == SegReg::CS && access == Access::READ && (s.attributes & READABLE) == 0) {
        return true;
    }
    return last > s.limit;
}

} // namespace

uint64_t Cpu::linear(SegReg r, uint64_t offset, unsigned bytes, Access access) {
    const Segment& s = sreg(r);
    if (code64()) {
        const uint64_t base = r == SegReg::FS || r == SegReg::GS ? s.base : 0;
        if (!canonical(base)) {
            throw Open{"a segment base that parts sign-extend from different bits"};
        }
        const uint64_t address = base + offset;
        // Under the deviation the first page's own faults come before the second's address.
        if (!canonical(address) ||
            (!canonical(address + bytes - 1) && !deviates(Deviation::CANONICAL_PER_PAGE))) {
            segment_fault(r == SegReg::SS && deviates(Deviation::STACK_CANONICAL_GP) ? SegReg::DS
                                                                                     : r);
        }
        if ((efer & x86::efer::LMSLE) != 0 && r != SegReg::CS && r != SegReg::GS) {
            throw Open{"EFER.LMSLE limits are not modelled"};
        }
        return address;
    }
    const bool system = (s.attributes & (x86::seg::P | x86::seg::S)) == x86::seg::P;
    if (system && !real() && r != SegReg::CS && deviates(Deviation::SEGMENT_KINDS)) {
        throw Open{"an access through a system segment"};
    }
    const uint64_t low = offset & 0xffffffffull;
    const bool refused = legacy_refuses(s, r, low, bytes, access, real() || v86());
    const bool by_type = real() && r != SegReg::CS &&
                         legacy_refuses(s, r, low, bytes, access, false) != refused &&
                         deviates(Deviation::REAL_TYPES);
    const bool wraps = low + bytes - 1 > 0xffffffffull && s.base == 0 && s.limit == 0xffffffff &&
                       (legacy_refuses(s, r, 0, 1, access, real() || v86()) == by_type) &&
                       deviates(Deviation::FLAT_WRAPS);
    if (refused != by_type && !wraps && !deviates(Deviation::NO_SEGMENT_CHECKS)) {
        segment_fault(r);
    }
    return (s.base + offset) & 0xffffffffull;
}

// An instruction that reads and writes one place may be checked for the write at once: table 8-6
// does not say which of its two accesses a fault reports.
uint64_t Cpu::translate_read(uint64_t linear, bool user, bool implicit) {
    if (!modifies) {
        return translate(linear, Access::READ, user, implicit);
    }
    try {
        return translate(linear, Access::READ, user, implicit);
    } catch (const Exception&) {
        if (!choices.flip()) {
            throw;
        }
    } catch (const Exit&) {
        if (!choices.flip()) {
            throw;
        }
    }
    return translate(linear, Access::WRITE, user, implicit);
}

uint64_t Cpu::read_linear(uint64_t linear, unsigned bytes, bool implicit) {
    const bool user = cpl == 3 && !implicit;
    const unsigned first = static_cast<unsigned>(std::min<uint64_t>(bytes, PAGE - linear % PAGE));
    const uint64_t at = translate_read(linear, user, implicit);
    uint64_t second = 0;
    if (first < bytes) {
        const uint64_t next = long_mode() ? linear + first : (linear + first) & 0xffffffffull;
        second = translate_read(next, user, implicit);
    }
    uint64_t value = memory.read_number(at, first);
    if (first < bytes) {
        value |= memory.read_number(second, bytes - first) << (8 * first);
    }
    return value;
}

void Cpu::write_linear(uint64_t linear, uint64_t value, unsigned bytes, uint64_t known,
                       bool implicit) {
    const bool user = cpl == 3 && !implicit;
    const unsigned first = static_cast<unsigned>(std::min<uint64_t>(bytes, PAGE - linear % PAGE));
    const uint64_t at = translate(linear, Access::WRITE, user, implicit);
    uint64_t second = 0;
    if (first < bytes) {
        const uint64_t next = long_mode() ? linear + first : (linear + first) & 0xffffffffull;
        second = translate(next, Access::WRITE, user, implicit);
    }
    memory.write(at, value, first, known);
    if (first < bytes) {
        memory.write(second, value >> (8 * first), bytes - first, known >> (8 * first));
    }
    for (const uint64_t entry : table_entries) {
        const bool touches = entry / 8 == at / 8 || entry / 8 == (at + first - 1) / 8 ||
                             (first < bytes && entry / 8 == second / 8);
        tables_written = tables_written || touches;
    }
}

// §8.2.18: data at CPL 3 with CR0.AM and RFLAGS.AC.
void Cpu::check_alignment(uint64_t linear, unsigned bytes, Access access) {
    const bool on = cpl == 3 && (cr0 & x86::cr0::AM) != 0 && (rflags & x86::rflags::AC) != 0;
    if (!on || real() || bytes < 2 || linear % bytes == 0 ||
        deviates(Deviation::ALIGNMENT_UNCHECKED)) {
        return;
    }
    for (const uint64_t byte : {linear, linear + bytes - 1}) {
        translate(long_mode() ? byte : byte & 0xffffffffull, access, true, false);
    }
    throw fault(x86::Vector::AC, 0);
}

Masked Cpu::read(SegReg r, uint64_t offset, unsigned bytes, bool implicit) {
    const uint64_t at = linear(r, offset, bytes, Access::READ);
    if (!implicit) {
        check_alignment(at, bytes, modifies ? Access::WRITE : Access::READ);
    }
    return {read_linear(at, bytes, implicit), ~0ull};
}

void Cpu::write(SegReg r, uint64_t offset, const Masked& value, unsigned bytes) {
    const uint64_t at = linear(r, offset, bytes, Access::WRITE);
    check_alignment(at, bytes, Access::WRITE);
    write_linear(at, value.value, bytes, value.known);
}

} // namespace horos::model::svm::guest
