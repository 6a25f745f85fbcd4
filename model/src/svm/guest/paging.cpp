#include "guest/paging.hpp"

namespace horos::model::svm::guest {

namespace {

namespace pte = x86::pte;
namespace pf = x86::pf;

struct Level {
    unsigned shift;      // of the index in the address
    unsigned index_bits; // of the index
    bool may_be_large;
};

// Levels from the root down.
std::span<const Level> levels(const Tables& t) {
    static constexpr Level LEGACY_PSE[] = {{22, 10, true}, {12, 10, false}};
    static constexpr Level LEGACY[] = {{22, 10, false}, {12, 10, false}};
    static constexpr Level PAE[] = {{30, 2, false}, {21, 9, true}, {12, 9, false}};
    static constexpr Level LONG[] = {
        {48, 9, false}, {39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, false}};
    switch (t.mode) {
    case PagingMode::LEGACY:
        return t.large_4m ? std::span(LEGACY_PSE) : std::span(LEGACY);
    case PagingMode::PAE:
        return PAE;
    case PagingMode::LONG4:
        return std::span(LONG).subspan(1);
    case PagingMode::LONG5:
        return LONG;
    case PagingMode::NONE:
        break;
    }
    return {};
}

uint64_t root_base(const Tables& t) {
    switch (t.mode) {
    case PagingMode::LEGACY:
        return t.root & x86::cr3::ADDR_LEGACY_MASK;
    case PagingMode::PAE:
        return t.root & x86::cr3::ADDR_PAE_MASK;
    default:
        return t.root & x86::cr3::ADDR_4K_MASK;
    }
}

bool is_pdpe_of_pae(const Tables& t, const Level& level) {
    return t.mode == PagingMode::PAE && level.shift == 30;
}

// Bits that must be zero in a present entry (§5.3, figures 5-20 to 5-29).
uint64_t reserved_bits(const Tables& t, const Level& level, bool large, uint64_t entry,
                       Choices& choices) {
    if (t.mode == PagingMode::LEGACY) {
        // A 4-MiB page keeps address bits 39:32 in 20:13; bit 21 is reserved.
        const uint64_t beyond =
            t.physical_bits < 40 ? (0xffull << (t.physical_bits - 32)) & 0xff : 0;
        return large ? (1ull << 21) | (beyond << 13) : 0;
    }
    constexpr uint64_t PDPE_CLEAR = 0x1e6; // R/W, U/S and bits 8:5 of a legacy PDPE
    const uint64_t beyond = ~((1ull << t.physical_bits) - 1) & pte::ADDR;
    if (is_pdpe_of_pae(t, level)) {
        const bool lax = (entry & PDPE_CLEAR) != 0 && t.deviates(Deviation::PAE_PDPE_LAX);
        return 0xfff0000000000000ull | beyond | (lax ? 0 : PDPE_CLEAR);
    }
    uint64_t reserved = beyond | (t.nxe ? 0 : pte::NX);
    if (t.mode == PagingMode::PAE) {
        reserved |= 0x7ff0000000000000ull;
    } else if (level.shift >= 39) {
        reserved |= pte::PS; // bits 8:7 of a PML4E and PML5E
        if ((entry & pte::G) == 0 || !t.deviates(Deviation::PML4_GLOBAL_FREE)) {
            reserved |= pte::G;
        }
    } else if (level.shift == 30 && !large && (entry & pte::G) != 0 &&
               choices.pdpe_global_reserved()) {
        reserved |= pte::G; // bit 8 of a PDPE that names a table: MBZ or ignored by figure
    }
    if (large) {
        const uint64_t offset = (1ull << level.shift) - 1;
        reserved |= offset & ~0x1fffull & pte::ADDR; // bit 12 is PAT
    }
    return reserved;
}

// What the levels so far permit.
struct Rights {
    bool user = true;
    bool writable = true;
    bool no_execute = false;
    void add(uint64_t entry, bool nxe) {
        user = user && (entry & pte::US) != 0;
        writable = writable && (entry & pte::RW) != 0;
        no_execute = no_execute || (nxe && (entry & pte::NX) != 0);
    }
};

// Error-code bits of a refusal (P at least), or 0 if the access is permitted.
uint64_t refusal(const Tables& t, const Request& r, const Rights& rights, unsigned key) {
    const bool write = r.access == Access::WRITE;
    const bool execute = r.access == Access::EXECUTE;
    if (execute && t.execute_inverts_user) {
        const bool allowed = !rights.no_execute && (r.user || !rights.user);
        return allowed ? 0 : pf::P;
    }
    const bool bad_user = r.user && !rights.user;
    const bool bad_write = write && !rights.writable && (r.user || t.wp);
    const bool bad_execute = execute && (rights.no_execute || (t.smep && !r.user && rights.user));
    const bool bad_smap = !execute && t.smap && !r.user && rights.user;
    if (bad_user || bad_write || bad_execute || bad_smap) {
        return pf::P;
    }
    if (t.pke && rights.user && !execute) {
        const bool deny_access = (t.pkru >> (2 * key) & 1) != 0;
        const bool deny_write = (t.pkru >> (2 * key + 1) & 1) != 0;
        if (deny_access || (write && deny_write && (r.user || t.wp))) {
            return pf::P | pf::PK;
        }
    }
    return 0;
}

// The entries that this walk set A in; if it ends in a fault those A bits are not defined.
class Visited {
public:
    explicit Visited(MemoryView& memory) : memory_(memory) {}
    void accessed(uint64_t at, uint64_t entry) {
        if ((entry & pte::A) == 0) {
            memory_.write(at, (entry | pte::A) & 0xff, 1);
            set_[count_++] = at;
        }
    }
    void faulted() {
        for (unsigned i = 0; i < count_; ++i) {
            memory_.blur(set_[i], pte::A);
        }
    }

private:
    MemoryView& memory_;
    uint64_t set_[5] = {};
    unsigned count_ = 0;
};

uint64_t page_address(const Tables& t, const Level& level, bool large, uint64_t entry,
                      uint64_t address) {
    const uint64_t offset = (1ull << level.shift) - 1;
    if (t.mode == PagingMode::LEGACY) {
        const uint64_t high = large ? ((entry >> 13) & 0xff) << 32 : 0;
        return high | ((entry & 0xffffffffull) & ~offset) | (address & offset);
    }
    return (entry & pte::ADDR & ~offset) | (address & offset);
}

} // namespace

PagingMode paging_mode(uint64_t cr0, uint64_t cr4, uint64_t efer) {
    if ((cr0 & x86::cr0::PG) == 0) {
        return PagingMode::NONE;
    }
    if ((efer & x86::efer::LMA) != 0) {
        return (cr4 & x86::cr4::LA57) != 0 ? PagingMode::LONG5 : PagingMode::LONG4;
    }
    return (cr4 & x86::cr4::PAE) != 0 ? PagingMode::PAE : PagingMode::LEGACY;
}

WalkResult walk(const Tables& t, const Request& request, EntryResolver& entries, MemoryView& memory,
                Choices& choices) {
    const unsigned entry_bytes = t.mode == PagingMode::LEGACY ? 4 : 8;
    uint64_t table = root_base(t);
    Rights rights;
    Visited visited(memory);
    for (const Level& level : levels(t)) {
        const uint64_t index = (request.address >> level.shift) & ((1ull << level.index_bits) - 1);
        const uint64_t at = entries.resolve(table + index * entry_bytes);
        const bool beyond = at >> t.physical_bits != 0 && t.deviates(Deviation::TABLE_CRASH);
        if (beyond && choices.table_beyond_crashes()) {
            throw Open{"dies: without a message"};
        }
        const uint64_t entry =
            beyond ? ~0ull >> (64 - 8 * entry_bytes) : memory.read_number(at, entry_bytes);
        if ((entry & pte::P) == 0) {
            visited.faulted();
            return {false, 0, 0};
        }
        const bool large =
            level.may_be_large && (entry & pte::PS) != 0 && (level.shift != 30 || t.page_1g);
        uint64_t reserved = reserved_bits(t, level, large, entry, choices);
        if (level.shift == 30 && !large && t.mode != PagingMode::PAE) {
            reserved |= pte::PS; // no 1-GiB pages on this part
        }
        if ((entry & reserved) != 0) {
            visited.faulted();
            return {false, 0, pf::P | pf::RSV};
        }
        if (!is_pdpe_of_pae(t, level)) {
            rights.add(entry, t.nxe);
        }
        if (!large && level.shift != 12) {
            if (!is_pdpe_of_pae(t, level) ||
                ((entry & pte::A) == 0 && t.deviates(Deviation::PAE_PDPE_LAX))) {
                visited.accessed(at, entry);
            }
            table = t.mode == PagingMode::LEGACY ? entry & 0xfffff000ull : entry & pte::ADDR;
            continue;
        }
        const unsigned key = t.mode >= PagingMode::LONG4 ? (entry >> pte::PK_SHIFT) & 15 : 0;
        if (const uint64_t error = refusal(t, request, rights, key)) {
            visited.faulted();
            return {false, 0, error};
        }
        const uint64_t set = pte::A | (request.access == Access::WRITE ? pte::D : 0);
        if ((entry & set) != set) {
            memory.write(at, (entry | set) & 0xff, 1);
        }
        return {true, page_address(t, level, large, entry, request.address), 0};
    }
    return {true, request.address, 0};
}

} // namespace horos::model::svm::guest
