// docs/reference/ holds what the VMX tables say now. `model_vmx_reference_test --write` writes it
// anew.
#include "horos/model/vmx/names.hpp"
#include "horos/model/vmx/reference.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

namespace horos::model::vmx {
namespace {

const std::string FOLDER = HOROS_DOCS_REFERENCE;
const char* const HINT = "out of date: run model_vmx_reference_test --write";

std::string content(const std::string& file) {
    std::ifstream in(file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

TEST(VmxReference, RulesPageIsUpToDate) {
    EXPECT_TRUE(content(FOLDER + "/vmx-rules.md") == rules_markdown()) << HINT;
}
TEST(VmxReference, FieldsPageIsUpToDate) {
    EXPECT_TRUE(content(FOLDER + "/vmx-fields.md") == fields_markdown()) << HINT;
}

TEST(VmxRuleTable, NamesAndNumbersAreUnique) {
    std::set<std::string_view> names;
    std::set<RuleId> ids;
    for (const RuleInfo& rule : all_rules()) {
        EXPECT_TRUE(names.insert(rule.name).second) << rule.name;
        EXPECT_TRUE(ids.insert(rule.id).second) << rule.name;
        EXPECT_LT(static_cast<size_t>(rule.id), RULE_NUMBERS);
        EXPECT_EQ(find_rule(rule.name), &rule);
        EXPECT_EQ(&rule_info(rule.id), &rule);
        EXPECT_TRUE(rule.reads.any()) << rule.name;
    }
    EXPECT_EQ(find_rule("vmx.entry.no-such-rule"), nullptr);
    EXPECT_THROW(rule_info(RuleId::NONE), std::out_of_range);
}

TEST(VmxNames, UndefinedNumbersAreSaid) {
    EXPECT_EQ(exit_reason_name(12), "HLT");
    EXPECT_EQ(exit_reason_name(35), "reason 35");
    EXPECT_EQ(exit_reason_name(1000), "reason 1000");
}

} // namespace
} // namespace horos::model::vmx

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view(argv[1]) == "--write") {
        using namespace horos::model::vmx;
        std::ofstream(FOLDER + "/vmx-rules.md") << rules_markdown();
        std::ofstream(FOLDER + "/vmx-fields.md") << fields_markdown();
        return 0;
    }
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
