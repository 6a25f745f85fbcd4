// EPT walks, violations, misconfigurations, accessed and dirty flags, page-modification logging
// (SDM vol. 3C §28.3).
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

constexpr uint64_t bits(unsigned high, unsigned low) {
    return (high >= 63 ? ~0ull : (1ull << (high + 1)) - 1) & ~((1ull << low) - 1);
}

} // namespace

// §25.5.7: a virtualization exception in place of an exit, if the entry that the walk ended at
// allows it and the information area is free.
void Guest::virtualization_exception(uint64_t gpa, const Linear& linear,
                                     const Masked& qualification, uint64_t entry) {
    const uint64_t area = s[F::VE_INFORMATION_ADDRESS];
    if ((entry & ept::SUPPRESS_VE) != 0 || !protected_mode() || delivering ||
        physical(area) >> 32 != 0) {
        return;
    }
    constexpr uint64_t IN_USE = 0xffffffffull << 32;
    put_physical(area, IN_USE | uint64_t(ExitReason::EPT_VIOLATION), ~0ull);
    put_physical(area + 8, qualification.value, ~0ull, qualification.known);
    put_physical(area + 16, linear.address.value_or(0), ~0ull, linear.address ? ~0ull : 0);
    put_physical(area + 24, gpa, ~0ull);
    // Two bytes; what stands in the rest is not said.
    const bool stale = deviates(Deviation::EPTP_INDEX_NOT_LOADED);
    put_physical(area + 32, s[F::EPTP_INDEX] & 0xffff, ~0ull, stale ? 0 : 0xffff);
    path.push_back("virtualization exception");
    throw Exception{20, std::nullopt};
}

void Guest::ept_violation(uint64_t gpa, Access access, const Linear& linear, uint64_t combined,
                          uint64_t entry) {
    namespace q = ept_violation;
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
    if (proc2(proc2::EPT_VIOLATION_VE)) {
        virtualization_exception(gpa, linear, {value, known}, entry);
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
    const bool is_table = linear.address && !linear.translated;
    const bool as_write = access.kind == Kind::WRITE || (is_table && ept_ad());
    if (const auto host = held(true, gpa, access, as_write, linear)) {
        return *host;
    }
    const bool mode_based = proc2(proc2::MODE_BASED_EPT_EXECUTE);
    const uint64_t present = ept::RWX | (mode_based ? ept::XU : 0);
    if (gpa >> 48 != 0) { // beyond what four levels translate: bits 51:48 (§28.3.2)
        if (proc2(proc2::EPT_VIOLATION_VE)) {
            throw Open{"whether a violation without an entry is convertible"};
        }
        ept_violation(gpa, access, linear, 0, ept::SUPPRESS_VE);
    }
    uint64_t table = eptp & ept::ADDR;
    uint64_t combined = ept::RWX | ept::XU;
    std::array<uint64_t, 4> used{};
    unsigned count = 0;
    for (unsigned level = 4;; --level) {
        const uint64_t at = table + ((gpa >> (12 + 9 * (level - 1))) & 511) * 8;
        const uint64_t entry = physical(at);
        if ((entry & present) == 0) {
            ept_violation(gpa, access, linear, 0, entry);
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
    const uint64_t runs = mode_based && linear.user ? ept::XU : ept::X;
    const bool refused = (access.kind == Kind::READ && (combined & ept::R) == 0) ||
                         (access.kind == Kind::FETCH && (combined & runs) == 0) ||
                         (as_write && (combined & ept::W) == 0) ||
                         (access.modify && (combined & ept::R) == 0);
    if (refused) {
        ept_violation(gpa, access, linear, combined, physical(used[count - 1]));
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

} // namespace horos::model::vmx::guest
