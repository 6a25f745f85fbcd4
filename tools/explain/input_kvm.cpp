// The text of KVM's dump_vmcb, with or without the log's prefixes ("[ 12.3] kvm_amd: ").
#include "input.hpp"

#include <cctype>
#include <cstring>
#include <fmt/core.h>
#include <map>
#include <optional>
#include <sstream>
#include <type_traits>

namespace horos::explain {

namespace {

struct Word {
    std::string text;
    unsigned line;
};

std::string lower(std::string s) {
    for (char& c : s) {
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return s;
}

// Decimal numbers are printed as signed ones ("%d"), whatever the field is.
uint64_t parse(const Word& word, int base, const std::string& name, const std::string& key) {
    const bool negative = base == 10 && word.text[0] == '-';
    size_t used = 0;
    uint64_t n = 0;
    try {
        n = negative ? static_cast<uint64_t>(std::stoll(word.text, &used, base))
                     : std::stoull(word.text, &used, base);
    } catch (const std::exception&) {
        used = 0;
    }
    const bool sign = word.text[0] == '-' || word.text[0] == '+';
    if (used == 0 || used != word.text.size() || (sign && !negative)) {
        throw InputError(fmt::format("{}:{}: {}: '{}' is not a {} number", name, word.line, key,
                                     word.text, base == 16 ? "hexadecimal" : "decimal"));
    }
    return n;
}

// One line's "key: values" pairs; keys may contain blanks ("pause filter count").
using Values = std::map<std::string, std::vector<Word>>;

const char* const KEYS[] = {
    // longer names before their prefixes
    "pause filter threshold",
    "pause filter count",
    "avic_physical_id",
    "avic_logical_id",
    "avic_backing_page",
    "avic_vapic_bar",
    "allowed_sev_features",
    "guest_sev_features",
    "exit_int_info_err",
    "exit_int_info",
    "event_inj_err",
    "event_inj",
    "exit_info1",
    "exit_info2",
    "exit_code",
    "iopm_base_pa",
    "msrpm_base_pa",
    "tsc_offset",
    "nested_ctl",
    "nested_cr3",
    "misc_ctl2", // in the newest kernels virt_ext,
    "misc_ctl",  // and this nested_ctl
    "exit_int_data",
    "event_inj_data",
    "int_vector",
    "int_state",
    "int_ctl",
    "tlb_ctl",
    "erap_ctl",
    "intercepts",
    "exceptions",
    "virt_ext",
    "next_rip",
    "vmsa_pa",
    "cr_read",
    "cr_write",
    "dr_read",
    "dr_write",
    "asid",
    "ghcb",
    "kernel_gs_base",
    "sysenter_esp",
    "sysenter_eip",
    "sysenter_cs",
    "excp_from",
    "excp_to",
    "br_from",
    "br_to",
    "dbgctl",
    "gpat",
    "lstar",
    "cstar",
    "star",
    "sfmask",
    "rflags",
    "vmpl",
    "efer",
    "cpl",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "dr6",
    "dr7",
    "rip",
    "rsp",
    "rax",
    "gdtr",
    "ldtr",
    "idtr",
    "tr",
    "es",
    "cs",
    "ss",
    "ds",
    "fs",
    "gs"};

// The next "key:" at or after `from`; sets where it starts and where its values do.
std::optional<std::string> next_key(const std::string& line, size_t from, size_t& start,
                                    size_t& after) {
    std::optional<std::string> best;
    start = std::string::npos;
    for (const char* key : KEYS) {
        const std::string wanted = std::string(key) + ":";
        for (size_t at = line.find(wanted, from); at != std::string::npos;
             at = line.find(wanted, at + 1)) {
            const bool begins = at == 0 || std::isspace(static_cast<unsigned char>(line[at - 1]));
            if (begins && (at < start || (at == start && wanted.size() > after - start))) {
                best = key;
                start = at;
                after = at + wanted.size();
            }
            if (begins) {
                break;
            }
        }
    }
    return best;
}

void read_line(const std::string& line, unsigned number, Values& values) {
    size_t start = 0, after = 0;
    std::optional<std::string> key = next_key(line, 0, start, after);
    while (key) {
        size_t next_start = 0, next_after = 0;
        const std::optional<std::string> next = next_key(line, after, next_start, next_after);
        std::istringstream words(line.substr(after, next ? next_start - after : std::string::npos));
        std::vector<Word> list;
        for (std::string word; words >> word;) {
            list.push_back({word, number});
        }
        values.emplace(*key, std::move(list)); // the first wins: SEV dumps repeat rax and rsp
        key = next;
        after = next_after;
    }
}

class Reader {
public:
    Reader(const Values& values, std::string name, std::vector<std::string>& notes)
        : values_(values), name_(std::move(name)), notes_(notes) {}

    template <class T>
    void put(const char* key, T& to, int base = 16) {
        const Word* word = single(key);
        if (word != nullptr) {
            const uint64_t n = parse(*word, base, name_, key);
            // KVM keeps some 64-bit fields in 32 bits and prints them so.
            to = static_cast<T>(n);
            const bool minus = word->text[0] == '-' && sizeof(T) >= 4 &&
                               static_cast<int64_t>(n) == static_cast<std::make_signed_t<T>>(to);
            if (static_cast<uint64_t>(to) != n && !minus) {
                throw InputError(fmt::format("{}:{}: {}: {} does not fit {} bits", name_,
                                             word->line, key, word->text, sizeof(T) * 8));
            }
        }
    }
    // A field that was renamed.
    template <class T>
    void put_either(const char* key, const char* newer, T& to, int base) {
        put(values_.contains(newer) ? newer : key, to, base);
    }
    bool has(const char* key) const { return values_.contains(key); }
    uint64_t get(const char* key, int base = 16) {
        uint64_t n = 0;
        put(key, n, base);
        return n;
    }
    void segment(const char* key, svm::Segment& to) {
        const auto found = values_.find(key);
        if (found == values_.end()) {
            missing(key);
            return;
        }
        // s: 0010 a: 0c93 l: ffffffff b: 0000000000000000
        const std::vector<Word>& w = found->second;
        const char* const tags[] = {"s:", "a:", "l:", "b:"};
        if (w.size() < 8) {
            throw InputError(fmt::format("{}:{}: {}: needs \"s: a: l: b:\" with four numbers",
                                         name_, w.empty() ? 0 : w[0].line, key));
        }
        uint64_t n[4];
        for (unsigned i = 0; i < 4; ++i) {
            if (w[2 * i].text != tags[i]) {
                throw InputError(fmt::format("{}:{}: {}: expected \"{}\", found '{}'", name_,
                                             w[0].line, key, tags[i], w[2 * i].text));
            }
            n[i] = parse(w[2 * i + 1], 16, name_, key);
        }
        to = {static_cast<uint16_t>(n[0]), static_cast<uint16_t>(n[1]), static_cast<uint32_t>(n[2]),
              n[3]};
    }
    void intercepts(svm::ControlArea& c) {
        const auto found = values_.find("intercepts");
        if (found == values_.end() || found->second.empty()) {
            missing("intercepts");
            return;
        }
        const std::vector<Word>& w = found->second;
        uint32_t* const words[] = {&c.intercept_misc1, &c.intercept_misc2, &c.intercept_misc3};
        if (w.size() == 1) { // before Linux 5.10: one 64-bit number
            const uint64_t both = parse(w[0], 16, name_, "intercepts");
            c.intercept_misc1 = static_cast<uint32_t>(both);
            c.intercept_misc2 = static_cast<uint32_t>(both >> 32);
            return;
        }
        for (size_t i = 0; i < w.size() && i < 3; ++i) {
            *words[i] = static_cast<uint32_t>(parse(w[i], 16, name_, "intercepts"));
        }
    }

private:
    const Word* single(const char* key) {
        const auto found = values_.find(key);
        if (found == values_.end() || found->second.empty()) {
            missing(key);
            return nullptr;
        }
        return &found->second[0];
    }
    void missing(const char* key) {
        notes_.push_back(fmt::format("{} is not in the dump: taken as 0", key));
    }

    const Values& values_;
    std::string name_;
    std::vector<std::string>& notes_;
};

void read_control(Reader& r, svm::ControlArea& c) {
    c.intercept_cr = static_cast<uint32_t>(r.get("cr_read") | r.get("cr_write") << 16);
    c.intercept_dr = static_cast<uint32_t>(r.get("dr_read") | r.get("dr_write") << 16);
    r.put("exceptions", c.intercept_exceptions);
    r.intercepts(c);
    r.put("pause filter count", c.pause_filter_count, 10);
    r.put("pause filter threshold", c.pause_filter_threshold, 10);
    r.put("iopm_base_pa", c.iopm_base_pa);
    r.put("msrpm_base_pa", c.msrpm_base_pa);
    r.put("tsc_offset", c.tsc_offset);
    r.put("asid", c.guest_asid, 10);
    r.put("tlb_ctl", c.tlb_control, 10);
    if (r.has("erap_ctl")) {
        r.put("erap_ctl", c.rap_control, 10);
    }
    r.put("int_ctl", c.int_ctl);
    r.put("int_vector", c.v_intr_vector);
    r.put("int_state", c.int_state);
    r.put("exit_code", c.exit_code);
    if (c.exit_code == 0xffffffff) {
        c.exit_code = ~0ull; // printed as 32 bits by most kernels
    }
    r.put("exit_info1", c.exit_info_1);
    r.put("exit_info2", c.exit_info_2);
    c.exit_int_info = r.get("exit_int_info") | r.get("exit_int_info_err") << 32;
    r.put_either("nested_ctl", "misc_ctl", c.nested_ctl, 10);
    r.put("nested_cr3", c.nested_cr3);
    r.put("avic_vapic_bar", c.avic_apic_bar);
    c.event_inj = r.get("event_inj") | r.get("event_inj_err") << 32;
    r.put_either("virt_ext", "misc_ctl2", c.virt_ext, 10);
    r.put("next_rip", c.next_rip);
    r.put("avic_backing_page", c.avic_backing_page);
    r.put("avic_logical_id", c.avic_logical_table);
    r.put("avic_physical_id", c.avic_physical_table);
}

void read_save(Reader& r, svm::SaveArea& s) {
    r.segment("es", s.es);
    r.segment("cs", s.cs);
    r.segment("ss", s.ss);
    r.segment("ds", s.ds);
    r.segment("fs", s.fs);
    r.segment("gs", s.gs);
    r.segment("gdtr", s.gdtr);
    r.segment("ldtr", s.ldtr);
    r.segment("idtr", s.idtr);
    r.segment("tr", s.tr);
    r.put("cpl", s.cpl, 10);
    r.put("efer", s.efer);
    r.put("cr0", s.cr0);
    r.put("cr2", s.cr2);
    r.put("cr3", s.cr3);
    r.put("cr4", s.cr4);
    r.put("dr6", s.dr6);
    r.put("dr7", s.dr7);
    r.put("rip", s.rip);
    r.put("rflags", s.rflags);
    r.put("rsp", s.rsp);
    r.put("rax", s.rax);
    r.put("star", s.star);
    r.put("lstar", s.lstar);
    r.put("cstar", s.cstar);
    r.put("sfmask", s.sfmask);
    r.put("kernel_gs_base", s.kernel_gs_base);
    r.put("sysenter_cs", s.sysenter_cs);
    r.put("sysenter_esp", s.sysenter_esp);
    r.put("sysenter_eip", s.sysenter_eip);
    r.put("gpat", s.g_pat);
    r.put("dbgctl", s.dbgctl);
    r.put("br_from", s.br_from);
    r.put("br_to", s.br_to);
    r.put("excp_from", s.last_excp_from);
    r.put("excp_to", s.last_excp_to);
}

} // namespace

Input read_kvm_dump(const std::string& text, const std::string& name) {
    Values values;
    std::istringstream lines(text);
    std::string line;
    unsigned number = 0;
    unsigned dumps = 0;
    bool inside = false;
    while (std::getline(lines, line)) {
        ++number;
        line = lower(line);
        if (line.find("vmcb control area") != std::string::npos) {
            ++dumps;
            inside = true;
        }
        if (inside && dumps == 1) {
            read_line(line, number, values);
        }
    }
    if (values.empty()) {
        throw InputError(name + ": no line \"VMCB Control Area:\" with fields after it (set "
                                "kvm_amd.dump_invalid_vmcb=1 to make KVM print it)");
    }
    Input input;
    input.vmcb = std::make_unique<svm::Vmcb>();
    input.format = Format::KVM;
    Reader reader(values, name, input.notes);
    read_control(reader, input.vmcb->control);
    read_save(reader, input.vmcb->save);
    if (dumps > 1) {
        input.notes.push_back(
            fmt::format("the text holds {} dumps: the first is explained", dumps));
    }
    return input;
}

} // namespace horos::explain
