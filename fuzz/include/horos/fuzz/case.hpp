// A case: one VMRUN with everything around it. In memory it is the slot that the harness reads, so
// that nothing is converted on the way; on disk it is the difference from the all-zero slot, in
// binary (content-named) or as JSON with field names.
#pragma once

#include "horos/defs/svm.hpp"
#include "horos/fuzz/wire.hpp"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace horos::fuzz {

class CaseError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct Case {
    wire::CaseSlot slot{};
    std::string origin; // where it came from, for people; not part of the content

    // The VMCB as one block and back. Bytes outside the two transported ranges are zero.
    horos::svm::Vmcb vmcb() const;
    void setVmcb(const horos::svm::Vmcb& vmcb);
    std::span<const uint8_t> code() const;
    void setCode(std::span<const uint8_t> bytes); // pads with HLT; throws CaseError when too long
    // Changes a quadword of the arena: in its window, or as a patch. Throws CaseError when full.
    void poke(uint64_t address, uint64_t value);
    uint64_t peek(uint64_t address) const;
    // Of a case with TWICE: the case that ran before it.
    Case earlier() const;
};

// Whether an earlier VMRUN can have had another value there.
bool isEditable(uint64_t place);

std::vector<uint8_t> encode(const Case& c);
// Throws CaseError, naming what is wrong; never trusts a length or an offset.
Case decode(std::span<const uint8_t> bytes);
// 32 hex digits of the encoded content: the name of its file.
std::string contentName(const Case& c);

nlohmann::json toJson(const Case& c);
Case fromJson(const nlohmann::json& json);

// Reads either form, by content.
Case loadCase(const std::string& path);

// The windows whose content is not the template's.
uint32_t changedWindows(const wire::CaseSlot& slot);

// Puts what the harness relies on in order: known flags, patches inside the arena and outside
// windows, counts in range. Throws CaseError when that cannot be.
void validate(const Case& c);

} // namespace horos::fuzz
