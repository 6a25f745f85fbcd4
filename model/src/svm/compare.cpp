// Holding an observation against a prediction.
#include "horos/model/svm/fields.hpp"
#include "horos/model/svm/predict.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/core.h>

namespace horos::model::svm {

namespace {

class Collector {
public:
    void check(std::string_view field, const Masked& expected, uint64_t observed,
               std::string_view section) {
        if (!expected.allows(observed)) {
            found.push_back({std::string(field), expected.value, expected.known, observed,
                             std::string(section)});
        }
    }
    std::vector<Difference> found;
};

uint64_t number(const uint8_t* bytes, size_t count) {
    uint64_t value = 0;
    std::memcpy(&value, bytes, std::min<size_t>(count, 8));
    return value;
}

// Almost always all is equal; then the names of the fields are not wanted.
bool vmcb_allowed(const SavedVmcb& expected, const uint8_t* seen) {
    uint8_t wrong = 0;
    for (size_t i = 0; i < horos::svm::VMCB_BYTES; ++i) {
        wrong |= static_cast<uint8_t>((expected.value[i] ^ seen[i]) & expected.known[i]);
    }
    return wrong == 0;
}

void compare_vmcb(Collector& out, const Outcome& expected, const Vmcb& seen) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&seen);
    if (vmcb_allowed(expected.vmcb, bytes)) {
        return;
    }
    for (const FieldInfo& field : vmcb_fields()) {
        // Arrays are taken eight bytes at a time.
        for (size_t i = 0; i < field.bytes; i += 8) {
            const size_t count = std::min<size_t>(8, field.bytes - i);
            const size_t at = field.offset + i;
            const std::string name =
                field.bytes > 8 ? fmt::format("{}[{:#x}]", field.name, i) : std::string(field.name);
            out.check(
                name,
                {number(&expected.vmcb.value[at], count), number(&expected.vmcb.known[at], count)},
                number(bytes + at, count), field.section);
        }
    }
}

void compare_segment(Collector& out, std::string_view name, const Segment& expected,
                     const Segment& seen, bool base_open) {
    out.check(fmt::format("vmsave.{}.selector", name), {expected.selector, 0xffff}, seen.selector,
              "§15.5.2");
    if (base_open) {
        return;
    }
    // A base that is not canonical is sign-extended from a bit that depends on the part.
    const auto extended = static_cast<uint64_t>(static_cast<int64_t>(expected.base << 16) >> 16);
    const uint64_t known = extended == expected.base ? ~0ull : 0x0000ffffffffffffull;
    out.check(fmt::format("vmsave.{}.base", name), {expected.base, known}, seen.base, "§15.5.2");
}

void compare_extra(Collector& out, const Outcome& e, const Vmcb& seen) {
    const horos::svm::SaveArea& s = seen.save;
    compare_segment(out, "fs", e.fs, s.fs, (e.vmsave_base_open >> 0 & 1) != 0);
    compare_segment(out, "gs", e.gs, s.gs, (e.vmsave_base_open >> 1 & 1) != 0);
    compare_segment(out, "ldtr", e.ldtr, s.ldtr, (e.vmsave_base_open >> 2 & 1) != 0);
    compare_segment(out, "tr", e.tr, s.tr, (e.vmsave_base_open >> 3 & 1) != 0);
    const struct {
        std::string_view name;
        const Masked& expected;
        uint64_t observed;
    } rows[] = {{"kernel_gs_base", e.kernel_gs_base, s.kernel_gs_base},
                {"star", e.star, s.star},
                {"lstar", e.lstar, s.lstar},
                {"cstar", e.cstar, s.cstar},
                {"sfmask", e.sfmask, s.sfmask},
                {"sysenter_cs", e.sysenter_cs, s.sysenter_cs},
                {"sysenter_esp", e.sysenter_esp, s.sysenter_esp},
                {"sysenter_eip", e.sysenter_eip, s.sysenter_eip}};
    for (const auto& row : rows) {
        out.check(fmt::format("vmsave.{}", row.name), row.expected, row.observed, "§15.5.2");
    }
}

void compare_memory(Collector& out, const Outcome& expected, const Observation& seen) {
    for (const MemoryWrite& write : expected.writes) {
        const auto byte = seen.memory ? seen.memory(write.address) : std::nullopt;
        if (byte && ((write.value ^ *byte) & write.known) != 0) {
            out.check(fmt::format("memory[{:#x}]", write.address), {write.value, write.known},
                      *byte, "");
        }
    }
    if (!seen.changed || !expected.memory_known) {
        return;
    }
    for (const MemoryWrite& change : *seen.changed) {
        const bool predicted =
            std::any_of(expected.writes.begin(), expected.writes.end(),
                        [&](const MemoryWrite& w) { return w.address == change.address; });
        if (!predicted) {
            out.found.push_back({fmt::format("memory[{:#x}].unexpected", change.address), 0, 0xff,
                                 change.value, ""});
        }
    }
}

std::vector<Difference> compare_one(const Outcome& expected, const Observation& seen) {
    Collector out;
    out.check("kind", {static_cast<uint64_t>(expected.kind), ~0ull},
              static_cast<uint64_t>(seen.kind), "§15.5.1, §15.6");
    if (!out.found.empty()) {
        if (seen.vmcb != nullptr && expected.kind != OutcomeKind::FAULT) {
            out.check("control.exit_code", {static_cast<uint64_t>(expected.exit_code), ~0ull},
                      seen.vmcb->control.exit_code, "appendix C");
        }
        return out.found;
    }
    if (expected.kind == OutcomeKind::FAULT) {
        out.check("fault.vector", {static_cast<uint64_t>(expected.fault.vector), ~0ull},
                  static_cast<uint64_t>(seen.fault.vector), "vol. 3 VMRUN");
        out.check("fault.error_code", {expected.fault.error_code, ~0ull}, seen.fault.error_code,
                  "vol. 3 VMRUN");
    }
    if (seen.vmcb != nullptr) {
        compare_vmcb(out, expected, *seen.vmcb);
    }
    for (size_t i = 0; seen.gpr && i < expected.gpr.size(); ++i) {
        if (expected.gpr[i].allows((*seen.gpr)[i])) {
            continue; // before its name is made
        }
        out.check(fmt::format("gpr.{}", gpr_name(static_cast<Gpr>(i))), expected.gpr[i],
                  (*seen.gpr)[i], "§15.6");
    }
    for (size_t i = 0; seen.dr && i < expected.dr.size(); ++i) {
        if (expected.dr[i].allows((*seen.dr)[i])) {
            continue;
        }
        out.check(fmt::format("dr{}", i), expected.dr[i], (*seen.dr)[i], "§15.6");
    }
    if (seen.vmsave != nullptr) {
        compare_extra(out, expected, *seen.vmsave);
    }
    compare_memory(out, expected, seen);
    return out.found;
}

} // namespace

std::vector<Difference> compare(const Prediction& prediction, const Machine&,
                                const Observation& seen) {
    std::vector<Difference> best;
    bool first = true;
    for (const Outcome& expected : prediction.allowed) {
        if (expected.kind == OutcomeKind::UNSPECIFIED) {
            return {};
        }
        std::vector<Difference> differences = compare_one(expected, seen);
        const bool wrong_kind = !differences.empty() && differences[0].field == "kind";
        const bool best_wrong = !best.empty() && best[0].field == "kind";
        const bool better = (best_wrong && !wrong_kind) ||
                            (best_wrong == wrong_kind && differences.size() < best.size());
        if (first || better) {
            best = std::move(differences);
        }
        if (best.empty()) {
            return {};
        }
        first = false;
    }
    return best;
}

} // namespace horos::model::svm
