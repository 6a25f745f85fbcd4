#include "horos/fuzz/report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz {

using Json = nlohmann::json;

std::string clusterName(const ClusterKey& key) {
    uint64_t hash = 0xcbf29ce484222325;
    for (char c : key.text())
        hash = (hash ^ uint8_t(c)) * 0x100000001b3;
    return fmt::format("{:016x}", hash);
}

static Json clusterToJson(const Cluster& cluster) {
    Json json;
    json["name"] = clusterName(cluster.key);
    json["count"] = cluster.count;
    json["first_seen_seconds"] = cluster.firstSeen;
    json["rules"] = cluster.key.rules;
    json["expected"] = cluster.key.expected;
    json["observed"] = cluster.key.observed;
    json["instruction"] = cluster.key.instruction;
    json["fields"] = cluster.key.fields;
    for (const Finding& finding : cluster.example.findings)
        json["findings"].push_back({{"field", finding.field},
                                    {"expected", fmt::format("{:#x}", finding.expected)},
                                    {"known", fmt::format("{:#x}", finding.known)},
                                    {"observed", fmt::format("{:#x}", finding.observed)},
                                    {"section", finding.section}});
    if (cluster.known)
        json["triage"] = {{"id", cluster.known->id},
                          {"verdict", cluster.known->verdict},
                          {"section", cluster.known->section},
                          {"evidence", cluster.known->evidence}};
    json["confirmed_on_a_new_target"] = cluster.confirmed;
    json["case"] = toJson(cluster.example.input);
    for (const Case& c : cluster.needs)
        json["only_after_cases"].push_back(toJson(c));
    return json;
}

Json toJson(const CampaignResult& r) {
    Json json;
    json["format"] = "horos-fuzz-report";
    json["target"] = r.target;
    json["version"] = r.version;
    json["profile"] = r.profile;
    json["triage_file"] = r.triageFile;
    json["seed"] = r.seed;
    json["seconds"] = r.seconds;
    json["cases"] = {{"executed", r.executed},
                     {"per_second", r.casesPerSecond},
                     {"predicted", r.predicted},
                     {"avoided_known_fatal", r.avoided},
                     {"unspecified", r.unspecified},
                     {"never_returning", r.neverReturns},
                     {"outside_windows", r.writesOutside}};
    json["not_seen_again"] = r.unconfirmed;
    json["restarts"] = r.restarts;
    json["known_fatal"] = Json::array();
    for (const auto& [cause, count] : r.fatal)
        json["known_fatal"].push_back({{"cause", cause},
                                       {"left_out", count.leftOut},
                                       {"died", count.died},
                                       {"survived", count.survived}});
    json["coverage"] = {{"rules_both_sides", r.rulesBothSides},
                        {"rules_reachable", r.rulesReachable},
                        {"rules_applicable", r.rulesApplicable},
                        {"rules_complete_at_seconds", r.rulesCompleteAt},
                        {"pairs", r.pairs},
                        {"model_features", r.features},
                        {"exits", r.exits}};
    for (const RuleRow& row : r.rules)
        json["coverage"]["rules"].push_back({{"name", row.name},
                                             {"section", row.section},
                                             {"reachable", row.reachable},
                                             {"broken", row.broken},
                                             {"held", row.held}});
    json["corpus"] = r.corpus;
    json["imported"] = r.imported;
    for (const auto& [id, deviation] : r.deviations)
        json["known_fields"].push_back(
            {{"id", id}, {"count", deviation.count}, {"case", toJson(deviation.example.input)}});
    json["divergences"] = r.divergences;
    json["new_clusters"] = r.unknown();
    json["clusters"] = Json::array();
    for (const Cluster& cluster : r.clusters)
        json["clusters"].push_back(clusterToJson(cluster));
    return json;
}

} // namespace horos::fuzz
