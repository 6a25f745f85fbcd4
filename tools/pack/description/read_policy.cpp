// The CPUID and MSR policy file of a Linux partition.
#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

constexpr const char* registers[] = {"eax", "ebx", "ecx", "edx"};
constexpr Range range32{0, 0xffff'ffff};

void read_registers(TableReader& rule, const char* key, std::uint32_t (&out)[4],
                    Diagnostics& diagnostics) {
    const Value* table = rule.optional_value(key, ValueKind::table);
    if (table == nullptr) {
        return;
    }
    TableReader reader(*table, rule.path(key) + ".", diagnostics);
    for (std::size_t i = 0; i < 4; ++i) {
        if (const auto value = reader.optional_integer(registers[i], range32)) {
            out[i] = static_cast<std::uint32_t>(*value);
        }
    }
    reader.finish();
}

abi::CpuidRule read_cpuid(const Value& table, std::size_t index, Diagnostics& out) {
    TableReader reader(table, "cpuid[" + std::to_string(index) + "].", out);
    abi::CpuidRule rule{};
    rule.leaf = static_cast<std::uint32_t>(reader.integer("leaf", range32));
    rule.subleaf = static_cast<std::uint32_t>(
        reader.optional_integer("subleaf", {0, 0xffff'fffe}).value_or(abi::any_subleaf));
    for (std::uint32_t& keep : rule.keep) {
        keep = ~std::uint32_t{0};
    }
    read_registers(reader, "keep", rule.keep, out);
    read_registers(reader, "set", rule.set, out);
    if (!reader.has("keep") && !reader.has("set")) {
        reader.error("keep", "is missing, and 'set' too: the rule does nothing");
    }
    reader.finish();
    return rule;
}

abi::MsrRule read_msr(const Value& table, std::size_t index, Diagnostics& out) {
    TableReader reader(table, "msr[" + std::to_string(index) + "].", out);
    abi::MsrRule rule{};
    rule.msr = static_cast<std::uint32_t>(reader.integer("number", range32));
    reader.string("action");
    const auto action = reader.optional_choice("action", {"fault", "fixed", "pass-through"});
    rule.action = static_cast<abi::MsrAction>(action.value_or(0));
    rule.value = static_cast<std::uint64_t>(reader.optional_integer("value").value_or(0));
    if (rule.action == abi::MsrAction::fixed && !reader.has("value")) {
        reader.error("value", "is missing: action 'fixed' needs the value");
    }
    if (rule.action != abi::MsrAction::fixed && reader.has("value")) {
        reader.error("value", "is only for action 'fixed'");
    }
    reader.finish();
    return rule;
}

} // namespace

void read_policy(const std::string& file, PartitionSource& partition, Diagnostics& out) {
    const auto document = load_toml(file, out);
    if (!document) {
        return;
    }
    TableReader reader(*document, "", out);
    for (const Value* table : reader.elements("cpuid", ValueKind::table)) {
        partition.cpuid.push_back(read_cpuid(*table, partition.cpuid.size(), out));
    }
    for (const Value* table : reader.elements("msr", ValueKind::table)) {
        partition.msrs.push_back(read_msr(*table, partition.msrs.size(), out));
    }
    if (partition.cpuid.size() > abi::max_cpuid_rules) {
        reader.error("cpuid", "has " + std::to_string(partition.cpuid.size()) +
                                  " rules; allowed: at most " +
                                  std::to_string(abi::max_cpuid_rules));
    }
    if (partition.msrs.size() > abi::max_msr_rules) {
        reader.error("msr", "has " + std::to_string(partition.msrs.size()) +
                                " rules; allowed: at most " + std::to_string(abi::max_msr_rules));
    }
    reader.finish();
}

} // namespace horos::tools::pack
