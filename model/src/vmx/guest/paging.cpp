// Guest page walks (SDM vol. 3A chapter 4).
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;
namespace pte = x86::pte;

constexpr uint64_t bits(unsigned high, unsigned low) {
    return (high >= 63 ? ~0ull : (1ull << (high + 1)) - 1) & ~((1ull << low) - 1);
}

} // namespace

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
    if (apic_page(at)) {
        apic_table_access();
    }
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
        const auto before = writes; // a virtualization exception writes its information first
        try {
            (void)ept_translate(entry.gpa, {Kind::WRITE, false, true}, from);
        } catch (const Exit&) {
            if (!deviates(Deviation::EPT_TABLE_UPDATE_UNCHECKED)) {
                throw;
            }
        } catch (const Exception&) {
            if (!deviates(Deviation::EPT_TABLE_UPDATE_UNCHECKED)) {
                throw;
            }
            writes = before;
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
    Linear from;
    from.address = linear;
    from.user = access.user;
    if (paging()) {
        const bool write = access.kind == Kind::WRITE;
        if (const auto host = held(false, linear, access, write, from)) {
            return *host;
        }
    }
    cached_ = caches_ && walked_.contains({linear >> 12, access.kind});
    const uint64_t gpa = walk(linear, access);
    const uint64_t hpa = ept_translate(gpa, access, from);
    walked_.insert({linear >> 12, access.kind});
    if (access.kind == Kind::WRITE) {
        walked_.insert({linear >> 12, Kind::READ});
    }
    return hpa;
}

} // namespace horos::model::vmx::guest
