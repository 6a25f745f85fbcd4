#include "horos/fuzz/cluster.hpp"

#include "horos/defs/x86.hpp"
#include "process.hpp"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>

namespace horos::fuzz {

namespace {

// "memory[404070f8]" and "gpr.rcx" would make one cause many rows: indices go, names stay.
std::string fieldClass(const std::string& field) {
    if (auto at = field.find('['); at != std::string::npos)
        return field.substr(0, at);
    return field;
}

std::string fieldList(const std::vector<Finding>& findings, bool sameExit) {
    std::vector<std::string> names;
    for (const Finding& finding : findings)
        if (sameExit && finding.field == "save.rip")
            return "flow";
    for (const Finding& finding : findings) {
        // a different exit makes everything else differ; the exits are in the key already
        if (!sameExit && (finding.field == "kind" || finding.field == "exit_code" ||
                          finding.field == "control.exit_code"))
            return "exit";
        std::string name = fieldClass(finding.field);
        if (std::find(names.begin(), names.end(), name) == names.end())
            names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    if (names.size() > 4)
        names.resize(4); // enough to tell causes apart
    return fmt::format("{}", fmt::join(names, ","));
}

} // namespace

std::string ClusterKey::text() const {
    return fmt::format("{}{}expected {}, observed {}{}{}{}{}", rules, rules.empty() ? "" : ": ",
                       expected, observed, fields.empty() ? "" : ": ", fields,
                       instruction.empty() ? "" : " at ", instruction);
}

std::string instructionOf(const Case& c) {
    const horos::svm::Vmcb v = c.vmcb();
    const bool longMode = v.save.efer & x86::efer::LMA;
    const bool wide = longMode && (v.save.cs.attributes & x86::seg::L);
    const bool big = v.save.cs.attributes & x86::seg::DB;
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder,
                     wide  ? ZYDIS_MACHINE_MODE_LONG_64
                     : big ? ZYDIS_MACHINE_MODE_LEGACY_32
                           : ZYDIS_MACHINE_MODE_LEGACY_16,
                     wide  ? ZYDIS_STACK_WIDTH_64
                     : big ? ZYDIS_STACK_WIDTH_32
                           : ZYDIS_STACK_WIDTH_16);
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder, c.code().data(), c.code().size(), &insn, operands)))
        return "undefined";
    std::string text = ZydisMnemonicGetString(insn.mnemonic);
    for (unsigned i = 0; i < insn.operand_count_visible; ++i) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegister reg = operands[i].reg.value;
        auto kind = ZydisRegisterGetClass(reg);
        if (kind == ZYDIS_REGCLASS_CONTROL || kind == ZYDIS_REGCLASS_DEBUG ||
            kind == ZYDIS_REGCLASS_SEGMENT)
            text += fmt::format("{}{}", i == 0 ? " to " : " from ", ZydisRegisterGetString(reg));
    }
    return text;
}

std::vector<std::string> tagsOf(const Case& c) {
    using namespace x86;
    const horos::svm::Vmcb v = c.vmcb();
    const auto& s = v.save;
    std::vector<std::string> tags;
    const bool protectedMode = s.cr0 & cr0::PE;
    const bool vm = s.rflags & rflags::VM;
    const bool wide = (s.efer & efer::LMA) && (s.cs.attributes & seg::L);
    if (!protectedMode)
        tags.push_back("real");
    if (protectedMode && vm)
        tags.push_back("virtual8086");
    const unsigned implied = !protectedMode ? 0u : vm ? 3u : unsigned(s.ss.attributes >> 5 & 3);
    if (implied != (s.cpl & 3u) || s.cpl > 3)
        tags.push_back("cpl-mismatch");
    auto odd = [&](const horos::svm::Segment& segment, bool code) {
        const unsigned type = segment.attributes & 0x1f;
        const bool usual = code ? type == 0x1b : type == 0x13;
        const bool flat = segment.limit == 0xffffffff || (segment.limit & 0xffff) == 0xffff;
        return !usual || !flat || !(segment.attributes & seg::P);
    };
    if (odd(s.cs, true) || odd(s.ss, false) || odd(s.ds, false) || odd(s.es, false) ||
        (!wide && s.cs.limit == 0xffffffff && s.cs.base != 0))
        tags.push_back("segment-odd");
    auto canonical = [](uint64_t base) { return uint64_t(int64_t(base << 16) >> 16) == base; };
    for (const auto* segment : {&s.fs, &s.gs, &s.ldtr, &s.tr, &s.gdtr, &s.idtr})
        if (!canonical(segment->base)) {
            tags.push_back("noncanonical-base");
            break;
        }
    if (!protectedMode && (s.cs.attributes & (seg::DB | seg::L)))
        tags.push_back("real-big");
    if ((s.cr0 & cr0::PG) && (s.cr4 & cr4::PAE) && !(s.efer & efer::LME))
        tags.push_back("pae");
    if (s.rflags & ~0x3f7fd7ull)
        tags.push_back("rflags-reserved");
    if ((s.efer & efer::LMA) && !(s.cs.attributes & seg::L) && (s.cs.attributes & seg::DB) == 0)
        tags.push_back("compat16");
    if (!wide && (s.rip >> 32 || s.rsp >> 32))
        tags.push_back("wide-pointer");
    if (s.dr7 & 0xff)
        tags.push_back("breakpoints");
    return tags;
}

ClusterKey keyOf(const Divergence& d) {
    ClusterKey key;
    key.expected = d.expected;
    key.observed = d.observed;
    key.fields = fieldList(d.findings, d.expected == d.observed);
    key.instruction = instructionOf(d.input);
    const bool invalid = d.observed == "VMEXIT_INVALID" && d.expected == d.observed;
    if (invalid)
        key.instruction.clear(); // it never ran
    const bool refused = d.expected == "VMEXIT_INVALID" || d.expected.starts_with("fault");
    if (refused) // otherwise the rules have nothing to do with it
        key.rules = fmt::format("{}", fmt::join(d.rules, "+"));
    // What a dying target says names the cause better than the instruction that it died at.
    if (d.observed.starts_with("died")) {
        key.instruction.clear();
        key.fields.clear();
        return key;
    }
    // A guest that should not run may do anything: one row for a check that is not made.
    if (refused && d.observed != "VMEXIT_INVALID" && !d.observed.starts_with("fault")) {
        key.observed = "entered";
        key.instruction.clear();
        key.fields.clear();
    }
    return key;
}

bool matches(const std::string& pattern, const std::string& text) {
    if (pattern.empty())
        return true;
    // the usual two-pointer wildcard match; '*' is the only special character
    size_t p = 0, t = 0, star = std::string::npos, mark = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string::npos) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        ++p;
    return p == pattern.size();
}

namespace {

void checkWords(const Triaged& t) {
    if (t.verdict != "target" && t.verdict != "unspecified" && t.verdict != "model")
        throw std::runtime_error(
            fmt::format("{}: verdict '{}' is not target, unspecified or model", t.id, t.verdict));
    if (t.section.empty() || t.evidence.empty())
        throw std::runtime_error(fmt::format("{}: section and evidence are wanted", t.id));
}

// "deviation": a name of the model's; "unchecked": a rule of VMRUN.
void readDefect(const nlohmann::json& entry, Triaged& t) {
    checkWords(t);
    t.match.observed = entry.value("message", ""); // what the target says as it ends of it
    if (entry.contains("deviation")) {
        const auto name = entry.at("deviation").get<std::string>();
        t.deviation = svm_model::find_deviation(name);
        if (!t.deviation)
            throw std::runtime_error(
                fmt::format("{}: the model knows no deviation '{}'", t.id, name));
        return;
    }
    const auto name = entry.at("unchecked").get<std::string>();
    const svm_model::RuleInfo* rule = svm_model::find_rule(name);
    if (!rule)
        throw std::runtime_error(fmt::format("{}: there is no rule '{}'", t.id, name));
    t.unchecked = rule->id;
}

} // namespace

Triage Triage::load(const std::string& path) {
    Triage triage;
    nlohmann::json json;
    try {
        json = nlohmann::json::parse(readFile(path));
        for (const auto& entry : json.at("divergences")) {
            Triaged t;
            t.id = entry.at("id").get<std::string>();
            t.verdict = entry.at("verdict").get<std::string>();
            t.section = entry.at("section").get<std::string>();
            t.evidence = entry.at("evidence").get<std::string>();
            t.isField = entry.contains("field");
            t.isFatal = entry.contains("fatal");
            if (entry.contains("deviation") || entry.contains("unchecked")) {
                readDefect(entry, t);
                if (t.deviation)
                    triage.deviations_.set(*t.deviation);
                else
                    triage.deviations_.unchecked.set(size_t(*t.unchecked));
                triage.entries_.push_back(std::move(t));
                continue;
            }
            const auto& match = entry.at(t.isField ? "field" : t.isFatal ? "fatal" : "match");
            if (t.isField && match.contains("ignore"))
                t.ignore = std::stoull(match.at("ignore").get<std::string>(), nullptr, 0);
            if (t.isField && match.contains("value"))
                t.value = std::stoull(match.at("value").get<std::string>(), nullptr, 0);
            for (const auto& [name, value] : match.items())
                if (name != "rules" && name != "expected" && name != "observed" &&
                    name != "instruction" && name != "tag" &&
                    name != (t.isField ? "name" : "fields") &&
                    !(t.isField && (name == "ignore" || name == "value")))
                    throw std::runtime_error(fmt::format("{}: match has no part '{}'", t.id, name));
            t.match = {match.value("rules", ""), match.value("expected", ""),
                       match.value("observed", ""), match.value("instruction", ""),
                       match.value(t.isField ? "name" : "fields", "")};
            t.tag = match.value("tag", "");
            if (t.isFatal && t.match.observed.empty())
                t.match.observed = "died*";
            if (t.match == ClusterKey{} && t.tag.empty())
                throw std::runtime_error(
                    fmt::format("{}: an empty match would hide everything", t.id));
            checkWords(t);
            triage.entries_.push_back(std::move(t));
        }
    } catch (const std::exception& error) { // JSON's own among them
        throw std::runtime_error(fmt::format("triage file {}: {}", path, error.what()));
    }
    return triage;
}

std::vector<const Triaged*> Triage::entriesOf(const svm_model::Deviations& some) const {
    std::vector<const Triaged*> found;
    for (const Triaged& t : entries_)
        if ((t.deviation && some.test(*t.deviation)) ||
            (t.unchecked && some.unchecked.test(size_t(*t.unchecked))))
            found.push_back(&t);
    return found;
}

const Triaged* Triage::find(const ClusterKey& key, const Case& c) const {
    // Several checks that are not made: known if each one is.
    if (auto plus = key.rules.find('+'); plus != std::string::npos && key.observed == "entered") {
        ClusterKey first = key, rest = key;
        first.rules = key.rules.substr(0, plus);
        rest.rules = key.rules.substr(plus + 1);
        const Triaged* known = find(first, c);
        return known && find(rest, c) ? known : nullptr;
    }
    const auto tags = tagsOf(c);
    for (const Triaged& t : entries_)
        if (t.isPattern() &&
            matches(t.isFatal && !t.match.rules.empty() ? "*" + t.match.rules + "*" : t.match.rules,
                    key.rules) &&
            matches(t.match.expected, key.expected) && matches(t.match.observed, key.observed) &&
            matches(t.match.fields, key.fields) &&
            // the key of a death has no instruction: then the case says it
            matches(t.match.instruction, t.isFatal ? instructionOf(c) : key.instruction) &&
            (t.tag.empty() || std::find(tags.begin(), tags.end(), t.tag) != tags.end()))
            return &t;
    return nullptr;
}

const Triaged* Triage::fatal(const svm_model::Prediction& p, const Case& c) const {
    const auto broken = p.broken & p.applicable;
    auto breaks = [&](const std::string& pattern) {
        if (pattern.empty())
            return true;
        for (size_t i = 0; i < broken.size(); ++i)
            if (broken.test(i) &&
                matches(pattern, std::string(svm_model::rule_info(svm_model::RuleId(i)).name)))
                return true;
        return false;
    };
    for (const Triaged& t : entries_) {
        if (!t.isFatal || !breaks(t.match.rules) ||
            !matches(t.match.expected, describe(p.allowed.front())) ||
            (!t.match.instruction.empty() && !matches(t.match.instruction, instructionOf(c))))
            continue;
        if (t.tag.empty())
            return &t;
        const auto tags = tagsOf(c);
        if (std::find(tags.begin(), tags.end(), t.tag) != tags.end())
            return &t;
    }
    return nullptr;
}

void Clusters::drop(const ClusterKey& key) {
    auto at = clusters_.find(key);
    if (at == clusters_.end())
        return;
    divergences_ -= at->second.count;
    clusters_.erase(at);
}

std::vector<const Triaged*> Triage::explain(Divergence& d) const {
    std::vector<const Triaged*> used;
    const std::string instruction = instructionOf(d.input);
    std::erase_if(d.findings, [&](const Finding& finding) {
        for (const Triaged& t : entries_) {
            if (!t.isField || !matches(t.match.fields, finding.field) ||
                !matches(t.match.expected, d.expected) ||
                !matches(t.match.instruction, instruction) ||
                !matches(t.match.observed, d.observed) ||
                ((finding.expected ^ finding.observed) & finding.known & ~t.ignore) != 0 ||
                (t.value && (finding.observed & finding.known & t.ignore) != *t.value))
                continue;
            if (std::find(used.begin(), used.end(), &t) == used.end())
                used.push_back(&t);
            return true;
        }
        return false;
    });
    return used;
}

void Clusters::addDeviation(const Triaged* entry, const Divergence& example) {
    auto [at, fresh] = deviations_.try_emplace(entry->id);
    if (at->second.count++ == 0)
        at->second.example = example;
}

std::pair<Cluster*, bool> Clusters::add(Divergence divergence, double seconds) {
    ++divergences_;
    ClusterKey key = keyOf(divergence);
    auto [at, fresh] = clusters_.try_emplace(key);
    Cluster& cluster = at->second;
    ++cluster.count;
    if (fresh) {
        cluster.key = key;
        cluster.example = std::move(divergence);
        cluster.firstSeen = seconds;
        cluster.known = triage_.find(key, cluster.example.input);
    }
    return {&cluster, fresh};
}

size_t Clusters::unknown() const {
    return size_t(std::count_if(clusters_.begin(), clusters_.end(),
                                [](const auto& entry) { return entry.second.known == nullptr; }));
}

size_t Clusters::confirmedUnknown() const {
    return size_t(std::count_if(clusters_.begin(), clusters_.end(), [](const auto& entry) {
        return entry.second.known == nullptr && entry.second.confirmed;
    }));
}

void Clusters::rekey() {
    std::map<ClusterKey, Cluster> sorted;
    for (auto& [oldKey, cluster] : clusters_) {
        ClusterKey key = keyOf(cluster.example);
        auto [at, fresh] = sorted.try_emplace(key, cluster);
        Cluster& target = at->second;
        if (!fresh) {
            target.count += cluster.count;
            target.firstSeen = std::min(target.firstSeen, cluster.firstSeen);
            const bool alone = cluster.confirmed && cluster.needs.empty();
            if ((cluster.minimised && !target.minimised) || (alone && !target.needs.empty()))
                std::tie(target.example, target.needs) = std::tie(cluster.example, cluster.needs);
        }
        target.minimised |= cluster.minimised;
        target.confirmed |= cluster.confirmed;
        target.key = key;
        target.known = triage_.find(key, cluster.example.input);
    }
    clusters_ = std::move(sorted);
}

} // namespace horos::fuzz
