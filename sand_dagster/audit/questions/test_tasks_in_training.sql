-- Test tasks in training
-- Leaks: tasks that were trained on and are also evaluated, by what opens them, by the content of the file that opens them, or by
-- the words of the task. There should be no row; in ETO's ScienceWorld split, 54 seen tasks are training tasks, too.
WITH trained AS (SELECT DISTINCT e.task_id, t.spec, t.content, e.instruction FROM expert_data e JOIN tasks t USING (task_id)),
tested AS (SELECT DISTINCT v.task_id, t.spec, t.content, v.instruction FROM eval_episodes v JOIN tasks t USING (task_id))
SELECT s.task_id AS tested, r.task_id AS trained, CASE WHEN s.spec = r.spec THEN 'same task'
    WHEN s.content = r.content AND s.content <> '' THEN 'same content' ELSE 'same words' END AS how
FROM tested s JOIN trained r ON s.spec = r.spec OR (s.content = r.content AND s.content <> '') OR s.instruction = r.instruction
ORDER BY ALL
