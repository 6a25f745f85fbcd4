// The text of KVM's dump_vmcs and of Xen's, with or without the log's prefixes.
#include "input_vmcs.hpp"

#include <cctype>
#include <fmt/core.h>
#include <optional>
#include <sstream>

namespace horos::explain {

namespace {

using F = model::vmx::Field;

constexpr std::string_view SECTIONS[] = {"*** Guest State ***", "*** Host State ***",
                                         "*** Control State ***"};
enum class Part { NONE, GUEST, HOST, CONTROL };

struct Key {
    std::string_view text; // with '=' and without blanks around it
    F field;
};
constexpr Key GUEST_KEYS[] = {
    {"CR3=", F::GUEST_CR3},
    {"PDPTR0=", F::GUEST_PDPTE0},
    {"PDPTR1=", F::GUEST_PDPTE1},
    {"PDPTR2=", F::GUEST_PDPTE2},
    {"PDPTR3=", F::GUEST_PDPTE3},
    {"PDPTE0=", F::GUEST_PDPTE0},
    {"PDPTE1=", F::GUEST_PDPTE1},
    {"PDPTE2=", F::GUEST_PDPTE2},
    {"PDPTE3=", F::GUEST_PDPTE3},
    {"RSP=", F::GUEST_RSP},
    {"RIP=", F::GUEST_RIP},
    {"RFLAGS=", F::GUEST_RFLAGS},
    {"DR7=", F::GUEST_DR7},
    {"EFER=", F::GUEST_EFER},
    {"PAT=", F::GUEST_PAT},
    {"DebugCtl=", F::GUEST_DEBUGCTL},
    {"DebugExceptions=", F::GUEST_PENDING_DEBUG},
    {"PerfGlobCtl=", F::GUEST_PERF_GLOBAL_CTRL},
    {"BndCfgS=", F::GUEST_BNDCFGS},
    {"Interruptibility=", F::GUEST_INTERRUPTIBILITY},
    {"ActivityState=", F::GUEST_ACTIVITY},
    {"InterruptStatus=", F::GUEST_INTERRUPT_STATUS},
    {"PreemptionTimer=", F::PREEMPTION_TIMER},
    {"S_CET=", F::GUEST_S_CET},
    {"SSP=", F::GUEST_SSP},
    {"SSP TABLE=", F::GUEST_ISST_ADDR},
};
constexpr Key HOST_KEYS[] = {
    {"RSP=", F::HOST_RSP},
    {"RIP=", F::HOST_RIP},
    {"CS=", F::HOST_CS_SELECTOR},
    {"SS=", F::HOST_SS_SELECTOR},
    {"DS=", F::HOST_DS_SELECTOR},
    {"ES=", F::HOST_ES_SELECTOR},
    {"FS=", F::HOST_FS_SELECTOR},
    {"GS=", F::HOST_GS_SELECTOR},
    {"TR=", F::HOST_TR_SELECTOR},
    {"FSBase=", F::HOST_FS_BASE},
    {"GSBase=", F::HOST_GS_BASE},
    {"TRBase=", F::HOST_TR_BASE},
    {"GDTBase=", F::HOST_GDTR_BASE},
    {"IDTBase=", F::HOST_IDTR_BASE},
    {"CR0=", F::HOST_CR0},
    {"CR3=", F::HOST_CR3},
    {"CR4=", F::HOST_CR4},
    {"EFER=", F::HOST_EFER},
    {"PAT=", F::HOST_PAT},
    {"PerfGlobCtl=", F::HOST_PERF_GLOBAL_CTRL},
    {"S_CET=", F::HOST_S_CET},
    {"SSP=", F::HOST_SSP},
    {"SSP TABLE=", F::HOST_ISST_ADDR},
};
constexpr Key CONTROL_KEYS[] = {
    {"PinBased=", F::PIN_CONTROLS},
    {"CPUBased=", F::PROC_CONTROLS},
    {"SecondaryExec=", F::PROC_CONTROLS_2},
    {"TertiaryExec=", F::PROC_CONTROLS_3},
    {"EntryControls=", F::ENTRY_CONTROLS},
    {"ExitControls=", F::EXIT_CONTROLS},
    {"ExceptionBitmap=", F::EXCEPTION_BITMAP},
    {"PFECmask=", F::PF_ERROR_CODE_MASK},
    {"PFECmatch=", F::PF_ERROR_CODE_MATCH},
    {"reason=", F::EXIT_REASON},
    {"qualification=", F::EXIT_QUALIFICATION},
    {"TSC Offset=", F::TSC_OFFSET},
    {"TSC Multiplier=", F::TSC_MULTIPLIER},
    {"TPR Threshold=", F::TPR_THRESHOLD},
    {"APIC-access addr=", F::APIC_ACCESS_ADDRESS},
    {"virt-APIC addr=", F::VIRTUAL_APIC_ADDRESS},
    {"PostedIntrVec=", F::POSTED_INTERRUPT_VECTOR},
    {"EPT pointer=", F::EPTP},
    {"EPTP index=", F::EPTP_INDEX},
    {"PLE Gap=", F::PLE_GAP},
    {"Window=", F::PLE_WINDOW},
    {"Virtual processor ID=", F::VPID},
    {"VMfunc controls=", F::VM_FUNCTION_CONTROLS},
};
// Lines whose keys mean something only there.
struct LineKeys {
    std::string_view line;
    Key keys[3];
};
constexpr LineKeys LINES[] = {
    {"CR0:", {{"actual=", F::GUEST_CR0}, {"shadow=", F::CR0_SHADOW}, {"gh_mask=", F::CR0_MASK}}},
    {"CR4:", {{"actual=", F::GUEST_CR4}, {"shadow=", F::CR4_SHADOW}, {"gh_mask=", F::CR4_MASK}}},
    {"VMEntry:",
     {{"intr_info=", F::ENTRY_INTERRUPTION_INFO},
      {"errcode=", F::ENTRY_EXCEPTION_ERROR_CODE},
      {"ilen=", F::ENTRY_INSTRUCTION_LENGTH}}},
    {"VMExit:",
     {{"intr_info=", F::EXIT_INTERRUPTION_INFO},
      {"errcode=", F::EXIT_INTERRUPTION_ERROR_CODE},
      {"ilen=", F::EXIT_INSTRUCTION_LENGTH}}},
    {"IDTVectoring:",
     {{"info=", F::IDT_VECTORING_INFO},
      {"errcode=", F::IDT_VECTORING_ERROR_CODE},
      {"errcode=", F::IDT_VECTORING_ERROR_CODE}}},
};
constexpr std::string_view SEGMENT_LINES[] = {
    "ES:", "CS:", "SS:", "DS:", "FS:", "GS:", "LDTR:", "TR:"};

// Without blanks before and after '=' and "| ", so that versions that pad differently read alike.
std::string squeeze(std::string_view line) {
    std::string out;
    for (const char c : line) {
        if (c == '\r') {
            continue;
        }
        if (c == '=') {
            while (!out.empty() && out.back() == ' ') {
                out.pop_back();
            }
        } else if (c == ' ' && !out.empty() && out.back() == '=') {
            continue;
        }
        out += c;
    }
    return out;
}

class Reader {
public:
    Reader(const std::string& name, VmcsInput& input) : name_(name), input_(input) {}

    void line(std::string_view raw, unsigned number) {
        number_ = number;
        text_ = squeeze(raw);
        if (section()) {
            return;
        }
        switch (part_) {
        case Part::NONE:
            return;
        case Part::GUEST:
            if (!segment() && !table("GDTR:", F::GUEST_GDTR_LIMIT, F::GUEST_GDTR_BASE) &&
                !table("IDTR:", F::GUEST_IDTR_LIMIT, F::GUEST_IDTR_BASE) && !special() &&
                !sysenter(F::GUEST_SYSENTER_ESP, F::GUEST_SYSENTER_CS, F::GUEST_SYSENTER_EIP)) {
                keys(GUEST_KEYS);
            }
            return;
        case Part::HOST:
            if (!sysenter(F::HOST_SYSENTER_ESP, F::HOST_SYSENTER_CS, F::HOST_SYSENTER_EIP)) {
                keys(HOST_KEYS);
            }
            return;
        case Part::CONTROL:
            if (!special()) {
                keys(CONTROL_KEYS);
            }
        }
    }
    bool done() const { return done_; }
    bool saw(F field) const { return seen_[model::vmx::slot_of(field)]; }
    bool saw_all_parts() const { return parts_ == 7; }

private:
    bool section() {
        for (unsigned n = 0; n < 3; ++n) {
            if (text_.find(SECTIONS[n]) != std::string::npos) {
                done_ = (parts_ >> n & 1) != 0; // the next dump
                parts_ |= 1u << n;
                part_ = static_cast<Part>(n + 1);
                return true;
            }
        }
        return false;
    }
    // Where `key` stands as a word of its own; npos: nowhere.
    size_t find(std::string_view key) const {
        size_t at = text_.find(key);
        while (at != std::string::npos && at > 0 &&
               (std::isalnum(static_cast<unsigned char>(text_[at - 1])) != 0 ||
                text_[at - 1] == '_')) {
            at = text_.find(key, at + 1);
        }
        return at;
    }
    uint64_t number(size_t at, std::string_view what) const {
        size_t end = at;
        while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) != 0)) {
            ++end;
        }
        const std::string word = text_.substr(at, end - at);
        size_t used = 0;
        uint64_t n = 0;
        try {
            n = std::stoull(word, &used, 16);
        } catch (const std::exception&) {
            used = 0;
        }
        if (used == 0 || used != word.size()) {
            throw InputError(fmt::format("{}:{}: {} '{}' is not a hexadecimal number", name_,
                                         number_, what, word));
        }
        return n;
    }
    void put(F field, size_t at, std::string_view what) {
        const uint64_t n = number(at, what);
        const unsigned bits = model::vmx::field_info(field).bits;
        if (bits < 64 && n >> bits != 0) {
            throw InputError(
                fmt::format("{}:{}: {} {:#x} does not fit {} bits", name_, number_, what, n, bits));
        }
        input_.state[field] = n;
        seen_.set(model::vmx::slot_of(field));
    }
    template <size_t N>
    void keys(const Key (&list)[N]) {
        for (const Key& key : list) {
            const size_t at = find(key.text);
            if (at != std::string::npos) {
                put(key.field, at + key.text.size(), key.text);
            }
        }
    }
    bool special() {
        for (const LineKeys& line : LINES) {
            if (find(line.line) != std::string::npos) {
                keys(line.keys);
                return true;
            }
        }
        return false;
    }
    bool sysenter(F esp, F cs, F eip) {
        const size_t start = text_.find("Sysenter");
        if (start == std::string::npos) {
            return false;
        }
        const size_t rsp = find("RSP=");
        const size_t pair = find("CS:RIP=");
        const size_t colon = pair == std::string::npos ? pair : text_.find(':', pair + 7);
        if (rsp == std::string::npos || colon == std::string::npos) {
            throw InputError(
                fmt::format("{}:{}: the Sysenter line has no RSP= and CS:RIP=", name_, number_));
        }
        put(esp, rsp + 4, "Sysenter RSP");
        put(cs, pair + 7, "Sysenter CS");
        put(eip, colon + 1, "Sysenter RIP");
        return true;
    }
    // "sel=0x0008, attr=0x0a09b, limit=..., base=..." (KVM), or four numbers (Xen).
    bool segment() {
        for (unsigned n = 0; n < std::size(SEGMENT_LINES); ++n) {
            const size_t at = find(SEGMENT_LINES[n]);
            if (at == std::string::npos || text_.find("CS:RIP") != std::string::npos) {
                continue;
            }
            const F fields[] = {
                horos::vmx::plus(F::GUEST_ES_SELECTOR, n), horos::vmx::plus(F::GUEST_ES_RIGHTS, n),
                horos::vmx::plus(F::GUEST_ES_LIMIT, n), horos::vmx::plus(F::GUEST_ES_BASE, n)};
            words(at + SEGMENT_LINES[n].size(), fields, {"sel=", "attr=", "limit=", "base="});
            return true;
        }
        return false;
    }
    bool table(std::string_view line, F limit, F base) {
        const size_t at = find(line);
        if (at == std::string::npos) {
            return false;
        }
        const F fields[] = {limit, base};
        words(at + line.size(), fields, {"limit=", "base="});
        return true;
    }
    void words(size_t at, std::span<const F> fields,
               std::initializer_list<std::string_view> names) {
        const bool named = text_.find("limit=", at) != std::string::npos;
        auto name = names.begin();
        for (const F field : fields) {
            at = named ? text_.find(*name, at) : text_.find_first_not_of(' ', at);
            if (at == std::string::npos) {
                throw InputError(
                    fmt::format("{}:{}: the segment has no {}", name_, number_, *name));
            }
            at += named ? name->size() : 0;
            put(field, at, *name);
            at = std::min(text_.find_first_of(" ,", at), text_.size());
            ++name;
        }
    }

    const std::string& name_;
    VmcsInput& input_;
    std::string text_;
    unsigned number_ = 0;
    Part part_ = Part::NONE;
    unsigned parts_ = 0;
    bool done_ = false;
    std::bitset<model::vmx::FIELD_SLOTS> seen_;
};

// What no version prints, or not this one.
void fill_in(VmcsInput& input, const Reader& reader) {
    auto& state = input.state;
    state[F::VMCS_LINK_POINTER] = horos::vmx::NO_LINK_POINTER;
    std::string missing;
    const auto assume = [&](F field, uint64_t value) {
        if (!reader.saw(field)) {
            state[field] = value;
            missing +=
                (missing.empty() ? "" : ", ") + std::string(model::vmx::field_info(field).name);
        }
    };
    const bool secondary = (state[F::PROC_CONTROLS] & horos::vmx::proc::ACTIVATE_SECONDARY) != 0;
    const auto uses = [&](uint32_t bit) {
        return secondary && (state[F::PROC_CONTROLS_2] & bit) != 0;
    };
    if (uses(horos::vmx::proc2::ENABLE_VPID)) {
        assume(F::VPID, 1);
    }
    if (uses(horos::vmx::proc2::USE_TSC_SCALING)) {
        assume(F::TSC_MULTIPLIER, 1ull << 48);
    }
    if (!reader.saw(F::GUEST_EFER) &&
        (state[F::ENTRY_CONTROLS] & horos::vmx::entry_ctl::LOAD_EFER) != 0) {
        const bool long_mode =
            (state[F::ENTRY_CONTROLS] & horos::vmx::entry_ctl::IA32E_MODE_GUEST) != 0;
        assume(F::GUEST_EFER, long_mode ? x86::efer::LMA | x86::efer::LME : 0);
    }
    if (!missing.empty()) {
        input.notes.push_back("not in the dump, taken as valid: " + missing);
    }
    input.notes.push_back("a dump has neither bitmaps, MSR areas nor the VMCS link pointer; they "
                          "are taken as valid");
}

} // namespace

bool looks_like_vmcs_dump(std::string_view text) {
    return text.find(SECTIONS[0]) != std::string_view::npos;
}

VmcsInput read_vmcs_dump(const std::string& text, const std::string& name) {
    VmcsInput input;
    Reader reader(name, input);
    std::istringstream lines(text);
    std::string line;
    for (unsigned number = 1; !reader.done() && std::getline(lines, line); ++number) {
        reader.line(line, number);
    }
    if (reader.done()) {
        input.notes.push_back("the log has several dumps; this is the first");
    }
    if (!reader.saw_all_parts()) {
        throw InputError(name + ": not a whole dump: it needs the lines \"*** Guest State ***\", "
                                "\"*** Host State ***\" and \"*** Control State ***\"");
    }
    for (const F field : {F::PIN_CONTROLS, F::PROC_CONTROLS, F::ENTRY_CONTROLS, F::EXIT_CONTROLS,
                          F::GUEST_CR0, F::GUEST_CS_RIGHTS, F::HOST_CR0}) {
        if (!reader.saw(field)) {
            throw InputError(fmt::format("{}: the dump does not say {}", name,
                                         model::vmx::field_info(field).name));
        }
    }
    fill_in(input, reader);
    assume_machine(input.state);
    return input;
}

void assume_machine(model::vmx::RuleState& state) {
    using E = model::vmx::Extra;
    state[E::VMX_OPERATION] = 1;
    state[E::CR0] = x86::cr0::PE | x86::cr0::PG;
    state[E::RFLAGS] = x86::rflags::ONE;
    state[E::EFER] = x86::efer::LMA | x86::efer::LME;
    state[E::CS_L] = 1;
    state[E::CURRENT_VMCS] = 0x1000;
    state[E::VTPR] = 0xff;
}

} // namespace horos::explain
