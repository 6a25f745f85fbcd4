// What reproduces a case: the case, a ROM image that boots by itself in Bochs and says what
// differs, and a GoogleTest of the model's side.
#include "standalone.hpp"
#include "bochs.hpp"
#include "report.hpp"

#include "horos/model/vmx/names.hpp"

#include <cstring>
#include <filesystem>
#include <fmt/core.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace horos::fuzz::vmx {

using namespace model::vmx;

namespace {

class Expectations {
public:
    void add(const std::string& name, size_t offset, uint64_t mask, uint64_t value) {
        if (mask == 0) {
            return;
        }
        Expectation e{{}, offset, mask, value & mask};
        std::strncpy(e.name, name.c_str(), sizeof e.name - 1);
        list.push_back(e);
    }
    void field(Field f, const Masked& expected) {
        add(std::string(field_info(f).name), offsetof(Result, value) + 8 * slot_of(f),
            expected.known, expected.value);
    }
    std::vector<Expectation> list;
};

constexpr uint64_t OUTCOME = 0xffffffff;
constexpr size_t STATUS =
    offsetof(Result, outcome); // the VM-instruction error is in its upper half

void expect_failure(Expectations& e, const Failure& f) {
    switch (f.kind) {
    case FailureKind::UD:
        return e.add("fault", STATUS, OUTCOME, FAULT + 6);
    case FailureKind::GP:
        return e.add("fault", STATUS, OUTCOME, FAULT + 13);
    case FailureKind::VMFAIL_INVALID:
        return e.add("VMfailInvalid", STATUS, OUTCOME, FAIL_INVALID);
    case FailureKind::VMFAIL_VALID:
        return e.add("VMfailValid and its error", STATUS, ~0ull,
                     FAIL_VALID | uint64_t(f.error) << 32);
    case FailureKind::ENTRY_FAILURE:
        break;
    }
    e.add("outcome", STATUS, OUTCOME, EXITED);
    e.field(Field::EXIT_REASON, {0x80000000u | 33, OUTCOME});
    e.field(Field::EXIT_QUALIFICATION, {uint64_t(f.qualification), ~0ull});
}

void expect_exit(Expectations& e, const Test& test, const Profile& profile, const GuestExit& exit) {
    e.add("outcome", STATUS, OUTCOME, EXITED);
    for (const FieldInfo& field : vmcs_fields()) {
        if (field.needs.met(profile)) {
            e.field(field.field, exit[field.field]);
        }
    }
    for (unsigned n = 0; n < 16 && test.kind == Kind::GUEST; ++n) {
        if (n != 4) {
            e.add(fmt::format("gpr {}", n), offsetof(Result, gpr) + 8 * n, exit.gpr[n].known,
                  exit.gpr[n].value);
        }
    }
}

std::string google_test(const Test& test, const std::string& profile, const std::string& title,
                        const std::vector<Expectation>& expected) {
    std::string checks;
    for (size_t n = 0; n < expected.size() && n < 3; ++n) {
        checks += fmt::format("    EXPECT_EQ(expected.at({0}).value, {1:#x}ull) << "
                              "expected.at({0}).name;\n",
                              n, expected[n].value);
    }
    return fmt::format(
        "// {}\n// Written by horos-fuzz-vmx: what the model says of this case.\n"
        "#include \"report.hpp\"\n\n#include <gtest/gtest.h>\n#include <nlohmann/json.hpp>\n\n"
        "TEST(VmxFuzzRegression, Case) {{\n"
        "    const auto test = "
        "horos::fuzz::vmx::test_from_json(nlohmann::json::parse(R\"json({})json\"));\n"
        "    const auto expected = horos::fuzz::vmx::expectations(test, "
        "horos::model::vmx::find_profile(\"{}\"));\n"
        "    ASSERT_EQ(expected.size(), {}u);\n{}}}\n",
        title, to_json(test).dump(2), profile, expected.size(), checks);
}

std::string embed(std::string image, const Embedded& embedded) {
    const uint64_t empty = EMBEDDED_EMPTY;
    const std::string mark(reinterpret_cast<const char*>(&empty), sizeof empty);
    const size_t at = image.find(mark);
    if (at == std::string::npos || image.size() - at < sizeof embedded) {
        throw std::runtime_error("the harness image has no room for a case: is it the right file?");
    }
    std::memcpy(image.data() + at, &embedded, sizeof embedded);
    return image;
}

} // namespace

std::vector<Expectation> expectations(const Test& test, const Profile& profile) {
    if (test.kind == Kind::SEQUENCE) {
        throw std::runtime_error("reproducer: not for sequences; replay the JSON case");
    }
    Expectations e;
    const auto failures = failures_of(broken_rules(test.state, profile));
    if (!failures.allowed.empty()) {
        if (failures.allowed.size() > 1 || failures.may_enter) {
            throw std::runtime_error("reproducer: the model allows several outcomes");
        }
        expect_failure(e, failures.allowed[0]);
        return e.list;
    }
    const std::vector<GuestExit> exits = predicted_exits(test, profile);
    if (exits.size() != 1 || exits[0].open) {
        throw std::runtime_error("reproducer: the model leaves the outcome open");
    }
    expect_exit(e, test, profile, exits[0]);
    return e.list;
}

void write_reproducer(const std::string& folder, const std::string& title, const Test& test,
                      const Test& launch, const Options& options, bool falsify) {
    const Profile profile = find_profile(options.profile);
    std::vector<Expectation> expected = expectations(test, profile);
    if (falsify) {
        expected.back().value ^= expected.back().mask & -expected.back().mask;
    }
    if (expected.size() > EXPECTATIONS) {
        throw std::runtime_error("reproducer: more expectations than the image has room for");
    }
    auto embedded = std::make_unique<Embedded>();
    std::memset(static_cast<void*>(embedded.get()), 0, sizeof *embedded);
    embedded->magic = EMBEDDED_CASE;
    std::strncpy(embedded->title, title.c_str(), sizeof embedded->title - 1);
    embedded->fields = mailbox_of(field_lists(profile));
    embedded->launch = make_case(launch);
    embedded->launch.flags = FLAG_LAUNCHED;
    embedded->test = make_case(test);
    embedded->expectations = uint32_t(expected.size());
    std::copy(expected.begin(), expected.end(), embedded->expectation);

    std::filesystem::create_directories(folder);
    writeFile(folder + "/case.json", to_json(test).dump(2) + "\n");
    writeFile(folder + "/regression_test.cpp", google_test(test, options.profile, title, expected));
    writeFile(folder + "/standalone.rom", embed(readFile(HOROS_VMX_ROM), *embedded));
    writeFile(folder + "/bochsrc", bochs_configuration("standalone.rom", options.cpu, "bochs.log") +
                                       "port_e9_hack: enabled=1\n");
    writeFile(
        folder + "/README.md",
        fmt::format("{}\n\nIn this folder:\n\n"
                    "    echo c > debugger; bochs -q -f bochsrc -rc debugger\n"
                    "    horos-fuzz-vmx --cpu {} --replay case.json\n\n"
                    "The image prints each value that differs and ends with VERDICT agrees or "
                    "VERDICT diverges.\nregression_test.cpp holds the model to its "
                    "prediction.\n",
                    title, options.cpu));
}

} // namespace horos::fuzz::vmx
