//! Rewriting: a copy of a graph in which a pass replaces some nodes.

use super::{Builder, Graph, Loop, Node, Op, Sliced, Value};

/// The copy under construction, and where each old value went.
pub struct Rewriter<'a> {
    pub old: &'a Graph,
    pub new: Builder,
    map: Vec<Option<Value>>,
}

/// A pass as a function of one node. It is called for all in order, loop bodies included (for a loop before its body).
pub trait Rewrite {
    /// The node's results in the new graph, or `None` to have it copied.
    fn node(&mut self, rewriter: &mut Rewriter, node: &Node) -> Option<Vec<Value>>;
}

impl<F: FnMut(&mut Rewriter, &Node) -> Option<Vec<Value>>> Rewrite for F {
    fn node(&mut self, rewriter: &mut Rewriter, node: &Node) -> Option<Vec<Value>> {
        self(rewriter, node)
    }
}

impl<'a> Rewriter<'a> {
    /// An empty graph with the old one's name and inputs.
    pub fn new(old: &'a Graph) -> Self {
        let mut rewriter = Self::without_inputs(old);
        for input in &old.inputs {
            let value = rewriter.new.input(&input.name, old.ty(input.value).clone(), input.role.clone());
            rewriter.set(input.value, value);
        }
        rewriter
    }

    /// An empty graph with the old one's name, for a pass that changes inputs.
    pub fn without_inputs(old: &'a Graph) -> Self {
        Self { old, new: Builder::new(&old.name), map: vec![None; old.types.len()] }
    }

    /// Where `value` went.
    pub fn get(&self, value: Value) -> Value {
        match self.map[value.0 as usize] {
            Some(new) => new,
            None => panic!("internal error: {value} is used before it is rewritten"),
        }
    }

    pub fn is_set(&self, value: Value) -> bool {
        self.map[value.0 as usize].is_some()
    }

    pub fn set(&mut self, old: Value, new: Value) {
        self.map[old.0 as usize] = Some(new);
    }

    pub fn all(&self, values: &[Value]) -> Vec<Value> {
        values.iter().map(|&value| self.get(value)).collect()
    }

    /// Copies `nodes`, but for those that `pass` replaces.
    pub fn nodes(&mut self, nodes: &[Node], pass: &mut impl Rewrite) {
        for node in nodes {
            let results = match pass.node(self, node) {
                Some(results) => results,
                None => match &node.op {
                    Op::Loop(inner) => self.copy_loop(inner, pass),
                    op => {
                        let args = self.all(&node.args);
                        self.new.emit(op.clone(), &args)
                    }
                },
            };
            for (&old, new) in node.results.iter().zip(results) {
                self.set(old, new);
            }
        }
    }

    fn copy_loop(&mut self, inner: &Loop, pass: &mut impl Rewrite) -> Vec<Value> {
        self.new.open_loop();
        for carried in &inner.carried {
            let init = self.get(carried.init);
            let param = self.new.carry(init);
            self.set(carried.param, param);
        }
        for sliced in &inner.sliced {
            let source = self.get(sliced.source);
            let param = self.new.slice(source).param;
            self.set(sliced.param, param);
        }
        self.nodes(&inner.body, pass);
        self.close_loop(inner)
    }

    /// Ends a body that was opened for `inner`, whose parameters and values are all set.
    pub fn close_loop(&mut self, inner: &Loop) -> Vec<Value> {
        let carried: Vec<_> =
            inner.carried.iter().map(|c| (self.get(c.init), self.get(c.param), self.get(c.next))).collect();
        let sliced: Vec<_> = inner
            .sliced
            .iter()
            .map(|s| Sliced { source: self.get(s.source), param: self.get(s.param) })
            .collect();
        let stacked: Vec<_> = inner.stacked.iter().map(|s| self.get(s.value)).collect();
        let (mut lasts, stacks) =
            self.new.close_loop(inner.rounds, inner.reverse, &carried, &sliced, &stacked);
        lasts.extend(stacks);
        lasts
    }

    /// Copies the outputs and returns the new graph.
    pub fn finish(mut self) -> Graph {
        for output in &self.old.outputs {
            let value = self.get(output.value);
            self.new.output(value, output.role.clone());
        }
        self.new.finish()
    }
}

/// A copy of `graph` but for the nodes that `pass` replaces.
pub fn rewrite(graph: &Graph, pass: &mut impl Rewrite) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    rewriter.nodes(&graph.body, pass);
    rewriter.finish()
}
