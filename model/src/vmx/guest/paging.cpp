// Guest page walks (SDM vol. 3A chapter 4) and EPT walks (vol. 3C §28.3).
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;
namespace pte = x86::pte;

constexpr uint64_t bits(unsigned high, unsigned low) {
    return (high >= 63 ? ~0ull : (1ull << (high + 1)) - 1) & ~((1ull << low) - 1);
}

} // namespace

uint64_t Guest::physical(uint64_t address, bool& known) const {
    const auto before = input.memory->quadword(address & ~7ull);
    const auto written = writes.find(address & ~7ull);
    known = before.has_value();
    uint64_t value = before.value_or(0);
    if (written != writes.end()) {
        value = written->second.value;
        known = known && written->second.known == ~0ull;
    }
    return value;
}

uint64_t Guest::physical(uint64_t address) const {
    bool known = false;
    const uint64_t value = physical(address, known);
    if (!known) {
        throw Open{"memory whose content is not known"};
    }
    return value;
}

void Guest::put_physical(uint64_t address, uint64_t value, uint64_t mask, uint64_t known) {
    bool was_known = false;
    const uint64_t old = physical(address, was_known);
    const auto found = writes.find(address);
    const uint64_t old_known = found != writes.end() ? found->second.known : was_known ? ~0ull : 0;
    writes[address] = {(old & ~mask) | (value & mask), (old_known & ~mask) | (known & mask)};
}

// ---- EPT (§28.3) ----

void Guest::ept_violation(uint64_t gpa, Access access, const Linear& linear, uint64_t combined) {
    namespace q = ept_violation;
    if (proc2(proc2::EPT_VIOLATION_VE)) {
        throw Open{"a virtualization exception"};
    }
    const bool table = linear.address && !linear.translated;
    const bool as_write = access.kind == Kind::WRITE || (table && ept_ad());
    uint64_t value = access.kind == Kind::READ ? q::READ : 0;
    uint64_t known = 0xfff & ~q::USER_EXECUTABLE;
    value |= as_write ? q::WRITE : 0;
    value |= access.kind == Kind::FETCH ? q::FETCH : 0;
    if (table && ept_ad() && access.kind == Kind::READ &&
        deviates(Deviation::EPT_TABLE_WRITE_ONLY)) {
        value &= ~q::READ;
    } else if (table && ept_ad()) {
        value |= q::READ; // "the processor sets both bit 0 and bit 1"
    }
    if (access.modify || (table && access.kind == Kind::WRITE && !ept_ad())) {
        known &= ~q::READ; // a read-modify-write may set it
    }
    value |= (combined & 7) << 3;
    if (linear.address) {
        value |= q::LINEAR_VALID | (linear.translated ? q::TRANSLATED : 0);
    } else {
        known &= ~q::TRANSLATED;
    }
    const bool advanced = (profile.ept_vpid & ept_cap::ADVANCED_EXIT_INFO) != 0;
    if (advanced && linear.address && linear.translated) {
        value |= (linear.user ? q::LINEAR_USER : 0) | (linear.writable ? q::LINEAR_WRITABLE : 0) |
                 (linear.nx ? q::LINEAR_NX : 0);
    } else {
        known &= ~(q::LINEAR_USER | q::LINEAR_WRITABLE | q::LINEAR_NX);
    }
    if (proc2(proc2::MODE_BASED_EPT_EXECUTE)) {
        known |= q::USER_EXECUTABLE;
        value |= (combined & ept::XU) != 0 ? q::USER_EXECUTABLE : 0;
    }
    path.push_back(table                        ? "EPT violation: page table"
                   : access.kind == Kind::FETCH ? "EPT violation: fetch"
                   : access.kind == Kind::WRITE ? "EPT violation: write"
                                                : "EPT violation: read");
    Exit exit(ExitReason::EPT_VIOLATION);
    exit.qualification = {value, known};
    exit.physical = gpa;
    exit.linear = linear.address;
    throw exit;
}

namespace {

// §28.3.3.1: what makes a present entry a misconfiguration.
bool misconfigured(uint64_t entry, unsigned level, bool leaf, const Guest& g) {
    const bool mode_based = g.proc2(proc2::MODE_BASED_EPT_EXECUTE);
    const bool readable = (entry & ept::R) != 0;
    const bool runs = (entry & ept::X) != 0 || (mode_based && (entry & ept::XU) != 0);
    if (!readable && (entry & ept::W) != 0) {
        return true;
    }
    if (!readable && runs && (g.profile.ept_vpid & ept_cap::EXECUTE_ONLY) == 0) {
        return true;
    }
    if ((entry & bits(51, g.profile.physical_bits)) != 0) {
        return true;
    }
    if (level == 4) {
        return (entry & bits(7, 3)) != 0;
    }
    if (!leaf) {
        return (entry & bits(6, 3)) != 0;
    }
    const uint64_t large = level == 3 ? bits(29, 12) : level == 2 ? bits(20, 12) : 0;
    const uint64_t type = (entry & ept::TYPE) >> ept::TYPE_SHIFT;
    return (entry & large) != 0 || type == 2 || type == 3 || type == 7;
}
// A bit 7 of a part without such pages is reserved.
bool page_size_missing(uint64_t entry, unsigned level, const Profile& p) {
    return (entry & ept::LARGE) != 0 && ((level == 3 && (p.ept_vpid & ept_cap::PAGE_1G) == 0) ||
                                         (level == 2 && (p.ept_vpid & ept_cap::PAGE_2M) == 0));
}

} // namespace

uint64_t Guest::ept_translate(uint64_t gpa, Access access, const Linear& linear) {
    if (!ept()) {
        return gpa;
    }
    if ((eptp & eptp::WALK) != eptp::WALK_4) {
        throw Open{"a five-level EPT"};
    }
    const bool mode_based = proc2(proc2::MODE_BASED_EPT_EXECUTE);
    const uint64_t present = ept::RWX | (mode_based ? ept::XU : 0);
    if (gpa >> 48 != 0) { // beyond what four levels translate: bits 51:48 (§28.3.2)
        ept_violation(gpa, access, linear, 0);
    }
    uint64_t table = eptp & ept::ADDR;
    uint64_t combined = ept::RWX | ept::XU;
    std::array<uint64_t, 4> used{};
    unsigned count = 0;
    for (unsigned level = 4;; --level) {
        const uint64_t at = table + ((gpa >> (12 + 9 * (level - 1))) & 511) * 8;
        const uint64_t entry = physical(at);
        if ((entry & present) == 0) {
            ept_violation(gpa, access, linear, 0);
        }
        const bool leaf = level == 1 || (level < 4 && (entry & ept::LARGE) != 0);
        if (misconfigured(entry, level, leaf, *this) || page_size_missing(entry, level, profile)) {
            path.push_back("EPT misconfiguration, level " + std::to_string(level));
            Exit exit(ExitReason::EPT_MISCONFIGURATION);
            exit.physical = gpa;
            throw exit;
        }
        combined &= entry;
        used[count++] = at;
        if (leaf) {
            const uint64_t inside = (1ull << (12 + 9 * (level - 1))) - 1;
            table = entry & ept::ADDR & ~inside;
            break;
        }
        table = entry & ept::ADDR;
    }
    const bool is_table = linear.address && !linear.translated;
    const bool as_write = access.kind == Kind::WRITE || (is_table && ept_ad());
    const uint64_t runs = mode_based && linear.user ? ept::XU : ept::X;
    const bool refused = (access.kind == Kind::READ && (combined & ept::R) == 0) ||
                         (access.kind == Kind::FETCH && (combined & runs) == 0) ||
                         (as_write && (combined & ept::W) == 0) ||
                         (access.modify && (combined & ept::R) == 0);
    if (refused) {
        ept_violation(gpa, access, linear, combined);
    }
    if (ept_ad()) { // §28.3.5, and page-modification logging (§28.3.6)
        const uint64_t leaf = physical(used[count - 1]);
        const bool sets_dirty = as_write && (leaf & ept::D) == 0;
        bool changes = sets_dirty;
        for (unsigned n = 0; n < count; ++n) {
            changes = changes || (physical(used[n]) & ept::A) == 0;
        }
        const bool looks =
            proc2(proc2::ENABLE_PML) && (changes || (pml_index > PML_ENTRIES - 1 && !cached_ &&
                                                     deviates(Deviation::PML_INDEX_ALWAYS)));
        if (looks) {
            if (pml_index > PML_ENTRIES - 1) {
                path.push_back("PML full");
                Exit exit(ExitReason::PML_FULL);
                throw exit;
            }
            if (sets_dirty) {
                log_dirty(gpa);
            }
        }
        for (unsigned n = 0; n < count; ++n) {
            const uint64_t set = ept::A | (n + 1 == count && as_write ? ept::D : 0);
            const uint64_t old = physical(used[n]);
            if ((old & set) != set) {
                put_physical(used[n], old | set, ~0ull);
            }
        }
    }
    const unsigned shift = count == 2 ? 30 : count == 3 ? 21 : 12;
    return table | (gpa & ((1ull << shift) - 1));
}

void Guest::log_dirty(uint64_t gpa) {
    const bool offset = (gpa & 0xfff) != 0 && deviates(Deviation::PML_LOGS_OFFSET);
    const uint64_t logged = offset ? gpa : gpa & ~0xfffull;
    put_physical(s[F::PML_ADDRESS] + uint64_t{pml_index} * 8, logged, ~0ull);
    pml_index = uint16_t(pml_index - 1);
    path.push_back("PML logs");
}

// ---- the guest's own tables ----

void Guest::page_fault(uint64_t linear, Access access, bool present, bool reserved) {
    namespace pf = x86::pf;
    uint32_t code = present ? uint32_t(pf::P) : 0;
    code |= access.kind == Kind::WRITE ? uint32_t(pf::RW) : 0;
    code |= access.user ? uint32_t(pf::US) : 0;
    code |= reserved ? uint32_t(pf::RSV) : 0;
    const bool nx = (efer & x86::efer::NXE) != 0 && (cr4 & x86::cr4::PAE) != 0;
    const bool tells_fetch = nx || (cr4 & x86::cr4::SMEP) != 0;
    code |= access.kind == Kind::FETCH && tells_fetch ? uint32_t(pf::ID) : 0;
    throw Exception{14, code, linear};
}

// Reads an entry, through EPT. Using it sets its A flag.
uint64_t Guest::table_entry(uint64_t gpa, unsigned bytes, uint64_t linear) {
    Linear from;
    from.address = linear;
    from.translated = false;
    const uint64_t at = ept_translate(gpa, {Kind::READ}, from);
    uint64_t value = physical(at);
    if (bytes == 4) {
        value = value >> (at & 4) * 8 & 0xffffffff;
    }
    used_.push_back({gpa, at, value, pte::A, bytes});
    return value;
}

// The walk has led to a page that may be used: the flags are set (vol. 3A §4.8).
void Guest::set_flags(uint64_t linear) {
    Linear from;
    from.address = linear;
    from.translated = false;
    for (const UsedEntry& entry : used_) {
        if ((entry.value & entry.flags) == entry.flags) {
            continue;
        }
        try {
            (void)ept_translate(entry.gpa, {Kind::WRITE, false, true}, from);
        } catch (const Exit&) {
            if (!deviates(Deviation::EPT_TABLE_UPDATE_UNCHECKED)) {
                throw;
            }
        }
        const unsigned shift = entry.bytes == 4 ? unsigned(entry.host & 4) * 8 : 0;
        const uint64_t bits = entry.flags << shift;
        put_physical(entry.host & ~7ull, bits, bits);
    }
}

// A walk that ends in a fault or an exit may have set A in what it had used, or not.
void Guest::doubt_flags() {
    for (const UsedEntry& entry : used_) {
        const unsigned shift = entry.bytes == 4 ? unsigned(entry.host & 4) * 8 : 0;
        if ((entry.value & pte::A) == 0 && (entry.value & pte::P) != 0) {
            put_physical(entry.host & ~7ull, 0, pte::A << shift, 0);
        }
    }
}

void Guest::check_rights(uint64_t linear, Access access, bool writable, bool user, bool nx) {
    if ((cr4 & (x86::cr4::PKE | x86::cr4::PKS)) != 0 || (cr4 & x86::cr4::CET) != 0) {
        throw Open{"protection keys or CET"};
    }
    const bool wp = (cr0 & x86::cr0::WP) != 0;
    bool bad = access.user && !user;
    bad = bad || (access.kind == Kind::WRITE && !writable && (access.user || wp));
    bad = bad || (access.kind == Kind::FETCH && nx);
    bad =
        bad || (access.kind == Kind::FETCH && !access.user && user && (cr4 & x86::cr4::SMEP) != 0);
    bad = bad || (access.kind != Kind::FETCH && !access.user && user &&
                  (cr4 & x86::cr4::SMAP) != 0 && (rflags & x86::rflags::AC) == 0);
    if (bad) {
        page_fault(linear, access, true, false);
    }
}

uint64_t Guest::walk_ia32e(uint64_t linear, Access access) {
    const bool long_mode = ia32e();
    if ((cr4 & x86::cr4::LA57) != 0) {
        throw Open{"five-level paging"};
    }
    const bool nxe = (efer & x86::efer::NXE) != 0;
    uint64_t table = cr3 & pte::ADDR;
    bool writable = true, user = true, nx = false;
    unsigned level = long_mode ? 4 : 2;
    if (!long_mode) { // the four PDPTEs were loaded from the VMCS or from memory
        const unsigned n = linear >> 30 & 3;
        const uint64_t entry = ept() ? s[plus(F::GUEST_PDPTE0, n)]
                                     : s[static_cast<Extra>(unsigned(Extra::PDPTE0) + n)];
        if ((entry & pte::P) == 0) {
            page_fault(linear, access, false, false);
        }
        table = entry & pte::ADDR;
    }
    for (;; --level) {
        const unsigned shift = 12 + 9 * (level - 1);
        const uint64_t at = table + ((linear >> shift) & 511) * 8;
        const uint64_t entry = table_entry(at, 8, linear);
        if ((entry & pte::P) == 0) {
            page_fault(linear, access, false, false);
        }
        const bool is_leaf = level == 1 || (level < 4 && (entry & pte::PS) != 0);
        uint64_t reserved = bits(51, profile.physical_bits) | (nxe ? 0 : pte::NX);
        reserved |= long_mode ? 0 : bits(62, 52);
        reserved |= level == 4 ? pte::PS : 0;
        reserved |= is_leaf && level == 3 ? bits(29, 13) : is_leaf && level == 2 ? bits(20, 13) : 0;
        const bool gigabyte =
            (profile.leaf(x86::cpuid::LEAF_EXT_FEATURES).edx & x86::cpuid::E1_EDX_PAGE_1G) != 0;
        reserved |= level == 3 && !gigabyte ? pte::PS : 0;
        if ((entry & reserved) != 0) {
            page_fault(linear, access, true, true);
        }
        writable = writable && (entry & pte::RW) != 0;
        user = user && (entry & pte::US) != 0;
        nx = nx || (nxe && (entry & pte::NX) != 0);
        if (is_leaf) {
            check_rights(linear, access, writable, user, nx);
            used_.back().flags |= access.kind == Kind::WRITE ? pte::D : 0;
            const uint64_t inside = (1ull << shift) - 1;
            return (entry & pte::ADDR & ~inside) | (linear & inside);
        }
        table = entry & pte::ADDR;
    }
}

uint64_t Guest::walk_legacy(uint64_t linear, Access access) {
    const uint64_t at = (cr3 & 0xfffff000) + (linear >> 22 & 1023) * 4;
    const uint64_t entry = table_entry(at, 4, linear);
    if ((entry & pte::P) == 0) {
        page_fault(linear, access, false, false);
    }
    const uint64_t dirty = access.kind == Kind::WRITE ? pte::D : 0;
    if ((entry & pte::PS) != 0 && (cr4 & x86::cr4::PSE) != 0) {
        const unsigned high = std::min(profile.physical_bits, 40u); // PSE-36
        const uint64_t reserved = bits(21, high - 32 + 13);
        if ((entry & reserved) != 0) {
            page_fault(linear, access, true, true);
        }
        check_rights(linear, access, (entry & pte::RW) != 0, (entry & pte::US) != 0, false);
        used_.back().flags |= dirty;
        return (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32 | (linear & 0x3fffff);
    }
    const uint64_t at2 = (entry & 0xfffff000) + (linear >> 12 & 1023) * 4;
    const uint64_t entry2 = table_entry(at2, 4, linear);
    if ((entry2 & pte::P) == 0) {
        page_fault(linear, access, false, false);
    }
    check_rights(linear, access, (entry & entry2 & pte::RW) != 0, (entry & entry2 & pte::US) != 0,
                 false);
    used_.back().flags |= dirty;
    return (entry2 & 0xfffff000) | (linear & 0xfff);
}

uint64_t Guest::walk_tables(uint64_t linear, Access access) {
    return ia32e() || (cr4 & x86::cr4::PAE) != 0 ? walk_ia32e(linear, access)
                                                 : walk_legacy(linear & 0xffffffff, access);
}

uint64_t Guest::walk(uint64_t linear, Access access) {
    if (!paging()) {
        return linear & (ia32e() ? ~0ull : 0xffffffffull);
    }
    used_.clear();
    try {
        const uint64_t gpa = walk_tables(linear, access);
        set_flags(linear);
        return gpa;
    } catch (const Exception&) {
        doubt_flags();
        throw;
    } catch (const Exit&) {
        doubt_flags();
        throw;
    }
}

uint64_t Guest::translate(uint64_t linear, Access access) {
    cached_ = caches_ && walked_.contains({linear >> 12, access.kind});
    const uint64_t gpa = walk(linear, access);
    Linear from;
    from.address = linear;
    from.user = access.user;
    const uint64_t apic = s[F::APIC_ACCESS_ADDRESS];
    const uint64_t hpa = ept_translate(gpa, access, from);
    if (proc2(proc2::VIRTUALIZE_APIC_ACCESSES) && (hpa & ~0xfffull) == apic) {
        throw Open{"an APIC access"};
    }
    walked_.insert({linear >> 12, access.kind});
    if (access.kind == Kind::WRITE) {
        walked_.insert({linear >> 12, Kind::READ});
    }
    return hpa;
}

} // namespace horos::model::vmx::guest
