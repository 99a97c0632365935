"""Estimators of privacy, similarity and quality: pure functions of arrays, every rate with its interval over
people.

`RATES` names the rates that the contract tests run over: functions of (score, label, person) and of keywords
(`seed`, `fpr`, `k`, `threshold`, ...) that return a `fpray.metrics.rate.Rate`. A new one is one file and one
line.
"""

RATES = {
    'auc': 'fpray.metrics.membership:auc_clustered',
    'tpr_at_fpr': 'fpray.metrics.membership:tpr_at_fpr',
    'balanced_accuracy': 'fpray.metrics.membership:balanced_accuracy',
    'top_k': 'fpray.metrics.membership:top_k',
    'permuted_null': 'fpray.metrics.people:permuted_null',
    'smallest_detectable': 'fpray.metrics.people:smallest_detectable',
}
